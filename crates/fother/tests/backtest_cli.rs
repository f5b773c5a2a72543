//! `fother backtest` on a directory of its own, and on the shared history where it is there.
#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::Value;
use std::{fmt::Write as _, fs, path::Path, process::Command};

fn run(arguments: &[&str]) -> (i32, Value, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_fother")).args(["--format", "json", "backtest"]).args(arguments).output().unwrap();
    let value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().unwrap(), value, String::from_utf8_lossy(&output.stderr).into_owned())
}

const HEADER: &str = "cve,base_score,base_vector,published_date,epss,cisa_kev,vulncheck_kev,exploitdb,metasploit,nuclei,poc_github\n";
const VECTOR: &str = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H";

fn write(dir: &Path, more: &str) {
    let mut table = HEADER.to_owned();
    for number in 1000..1200 {
        writeln!(
            table,
            "CVE-2023-{number},9.8,{VECTOR},2023-06-01T00:00Z,0.001,False,False,False,{},False,False",
            if number == 1007 { "True" } else { "False" }
        )
        .unwrap();
    }
    table.push_str(more);
    fs::write(dir.join("cvss-bt.csv"), table).unwrap();
    fs::write(dir.join("epss.csv"), "#model_version:v1,score_date:2024-01-13T00:00:00+0000\ncve,epss,percentile\nCVE-2023-1003,0.5,0.9\n")
        .unwrap();
    let kev = "cveID,dateAdded\nCVE-2023-1001,2023-12-01\nCVE-2023-1003,2024-02-01\nCVE-2023-1007,2024-11-01\n";
    fs::write(dir.join("known_exploited_vulnerabilities.csv"), kev).unwrap();
}

#[test]
fn the_same_layout_in_any_directory_is_replayed_and_the_future_stays_out() {
    let keep = tempfile::tempdir().unwrap();
    write(keep.path(), "");
    let dir = keep.path().to_str().unwrap();
    let (code, value, errors) = run(&["--data", dir, "--at", "2024-01-13", "--effort", "0.5,1", "--top", "200"]);
    assert_eq!(code, 0, "{errors}");
    let data = &value["data"];
    assert_eq!((data["ordered"].as_u64(), data["exploited"].as_u64()), (Some(199), Some(2)), "one was in the catalogue already");
    let built_in = data["orders"].as_array().unwrap().iter().find(|order| order["order"] == "built-in").unwrap();
    assert_eq!(built_in["reach"][1]["hits"], 1.0);
    // A score, a vulnerability and an addition of later days are planted: the order stays.
    write(keep.path(), "");
    fs::write(keep.path().join("epss-later.csv"), "#score_date:2024-01-14\ncve,epss,percentile\nCVE-2023-1150,0.99,1\n").unwrap();
    let (_, later, _) = run(&["--data", dir, "--at", "2024-01-13", "--effort", "0.5,1", "--top", "200"]);
    assert_eq!(later["data"]["top"], data["top"]);
    write(keep.path(), &format!("CVE-2024-9999,10.0,{VECTOR},2024-01-14T00:00Z,0.9,False,True,True,True,True,True\n"));
    let (_, later, _) = run(&["--data", dir, "--at", "2024-01-13", "--strict", "--top", "200"]);
    assert!(!later["data"]["top"].to_string().contains("CVE-2024-9999"));
    assert!(later["unknown"].to_string().contains("1 days after 2024-01-13"), "{}", later["unknown"]);
}

#[test]
fn what_is_missing_or_damaged_is_said_with_its_name() {
    let keep = tempfile::tempdir().unwrap();
    let dir = keep.path().to_str().unwrap();
    let (code, _, errors) = run(&["--data", dir]);
    assert!(code == 2 && errors.contains("cvss-bt.csv"), "{errors}");
    write(keep.path(), "");
    let (code, _, errors) = run(&["--data", dir, "--at", "2025-01-01"]);
    assert!(code == 3 && errors.contains("ends on 2024-11-01"), "{errors}");
    fs::write(keep.path().join("epss.csv"), "cve,epss,percentile\nCVE-2023-1003,0.5,0.9\n").unwrap();
    let (code, _, errors) = run(&["--data", dir, "--at", "2024-01-13"]);
    assert!(code == 2 && errors.contains("epss.csv"), "{errors}");
}

#[test]
fn the_known_figures_are_met_on_the_shared_history() {
    let shared = std::env::var("FOTHER_SHARED").unwrap_or_else(|_| "../../../shared".into());
    let dir = format!("{shared}/feeds/backtest/2024-01");
    if !Path::new(&dir).is_dir() {
        eprintln!("skipped: {dir} is not here (set FOTHER_SHARED)");
        return;
    }
    let (code, value, errors) = run(&["--data", &dir, "--at", "2024-01-13", "--months", "31", "--scored-only", "--effort", "1,2,5"]);
    assert_eq!(code, 0, "{errors}");
    let reach = |order: &str| -> Vec<f64> {
        let orders = value["data"]["orders"].as_array().unwrap();
        let found = orders.iter().find(|found| found["order"] == order).unwrap();
        found["reach"].as_array().unwrap().iter().map(|reach| reach["coverage"]["percent"].as_f64().unwrap()).collect()
    };
    let rounded = |order: &str| reach(order).iter().map(|share| (share * 10.0).round() / 10.0).collect::<Vec<_>>();
    assert_eq!(value["data"]["exploited"], 125);
    assert_eq!(rounded("epss"), [23.2, 28.0, 40.0]);
    assert_eq!(rounded("tiered"), [44.8, 54.4, 60.0]);
    for (mine, tiered) in reach("built-in").iter().zip(reach("tiered")) {
        assert!(*mine > tiered, "{mine} against {tiered}");
    }
}
