//! One libFuzzer program for all targets: `FOTHER_FUZZ` names the target, `FOTHER_FUZZ_SEEDS=DIRECTORY` writes its seeds and ends.
#![no_main]

use std::sync::OnceLock;

static RUN: OnceLock<fn(&[u8])> = OnceLock::new();

fn chosen() -> fn(&[u8]) {
    let name = std::env::var("FOTHER_FUZZ").unwrap_or_default();
    let Some(target) = fother_fuzz::all().find(|target| target.name == name) else {
        let names: Vec<_> = fother_fuzz::all().map(|target| target.name).collect();
        println!("{}", names.join("\n"));
        std::process::exit(2);
    };
    if let Ok(dir) = std::env::var("FOTHER_FUZZ_SEEDS") {
        for (at, seed) in (target.seeds)().into_iter().enumerate() {
            std::fs::write(format!("{dir}/seed-{at}"), seed).expect("the seeds' directory can be written");
        }
        std::process::exit(0);
    }
    target.run
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    RUN.get_or_init(chosen)(data);
});
