//! What is kept, signed or sent as JSON, TOML or signed notes: events, directives, statements, checkpoints, policies, inventories, SBOMs, lock files.

use super::{Target, texts_of};
use ed25519_dalek::SigningKey;
use fother_core::{
    Digest, Timestamp, approval, canonical, checkpoint,
    directive::{self, Directive, Intake, Order, SignedDirective},
    event::Event,
    id::{DirectiveId, HostId},
    inventory::Inventory,
    policy::Policy,
    protocol::{CheckIn, Token},
    rank::rules::Pack,
    sbom::{self, lock},
    standing::Standing,
    window::{self, Window},
};

pub const ALL: &[Target] = &[
    Target { name: "canonical", run: canonical_json, seeds: || texts_of(&["{\"B\":{},\"a\":[true,null,\"ü\\n\"],\"b\":1}", "[[[1.5]]]"]) },
    Target { name: "event", run: event, seeds: event_seeds },
    Target { name: "directive", run: directive, seeds: directive_seeds },
    Target { name: "checkpoint", run: note, seeds: note_seeds },
    Target { name: "trust", run: trust, seeds: || texts_of(&[TRUST]) },
    Target { name: "policy", run: policy, seeds: || texts_of(&[POLICY]) },
    Target { name: "rule-pack", run: pack, seeds: pack_seeds },
    Target { name: "window", run: window, seeds: window_seeds },
    Target { name: "inventory", run: inventory, seeds: inventory_seeds },
    Target { name: "check-in", run: check_in, seeds: || texts_of(&["token_secret.sha256:00", "{\"version\":1}"]) },
    Target { name: "sbom", run: bill, seeds: bill_seeds },
    Target { name: "lock-file", run: lock_file, seeds: lock_seeds },
];

fn canonical_json(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(data) else { return };
    let Ok(bytes) = canonical::to_vec(&value) else { return };
    assert!(canonical::is_canonical(&bytes), "{}", String::from_utf8_lossy(&bytes));
    let again: serde_json::Value = serde_json::from_slice(&bytes).expect("what was written can be read");
    assert_eq!(again, value);
}

fn event_seeds() -> Vec<Vec<u8>> {
    include_str!("../../crates/fother-core/tests/events.golden").lines().map(|line| line.as_bytes().to_vec()).collect()
}

fn event(data: &[u8]) {
    for seq in [0, 4] {
        let Ok(event) = Event::parse(seq, data) else { continue };
        let bytes = event.bytes().expect("what was read can be written");
        assert_eq!(Event::parse(seq, &bytes).expect("what was written can be read"), event);
    }
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn directive_seeds() -> Vec<Vec<u8>> {
    let directive = Directive {
        id: DirectiveId::new(1, [1; 10]),
        host: HostId::new(1, [1; 10]),
        sequence: 9,
        issued: Timestamp(1_000),
        expires: Timestamp(90_000),
        order: Order::Resolve { pins: Vec::new(), exclude: Default::default() },
    };
    canonical::to_vec(&directive).into_iter().collect()
}

/// The bytes are signed as they stand: what is behind the signature must be as safe as what is before it.
fn directive(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let intake = Intake { host: HostId::new(1, [1; 10]), key: key().verifying_key(), seen: 3 };
    let unsigned = SignedDirective { directive: text.to_owned(), signature: text.to_owned() };
    assert!(intake.accept(&unsigned, Timestamp(2_000)).is_err());
    let Ok(directive) = serde_json::from_slice::<Directive>(data) else { return };
    let signed = directive::sign(&directive, &key()).expect("it can be written");
    if let Ok(accepted) = intake.accept(&signed, Timestamp(2_000)) {
        assert_eq!(accepted, directive);
        assert!(directive.sequence > 3 && directive.expires > Timestamp(2_000) && directive.host == intake.host);
    }
}

fn note_seeds() -> Vec<Vec<u8>> {
    let checkpoint = checkpoint::Checkpoint { origin: "fother.test/log".into(), size: 3, root: Digest([5; 32]) };
    checkpoint.sign(&key()).map(|note| note.to_string().into_bytes()).into_iter().collect()
}

fn note(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(read) = text.parse::<checkpoint::Checkpoint>() {
        assert_eq!(read.to_string().parse::<checkpoint::Checkpoint>().expect("what was written can be read"), read);
    }
    if let Ok(read) = text.parse::<checkpoint::Note>() {
        assert_eq!(read.to_string().parse::<checkpoint::Note>().expect("what was written can be read").to_string(), read.to_string());
    }
    let key = checkpoint::VerifierKey::new("fother.test/log", checkpoint::Kind::Log, key().verifying_key()).expect("the name is fine");
    if let Ok(signed) = checkpoint::open(text, &key) {
        assert_eq!(signed.root, Digest([5; 32]), "only the seed was ever signed");
    }
    let _ = text.parse::<checkpoint::VerifierKey>();
}

const TRUST: &str = "required = 1\n[[approver]]\nname = \"a\"\nkeys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\"]\n[limits]\norigins = [\"Debian\"]\nremovals = true\n[standing]\nclasses = [\"security\"]\ndays = 30\n";

fn trust(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(standing) = Standing::parse(data) {
        assert_eq!(standing.bytes().expect("what was read can be written"), data, "other bytes than those that were signed");
        assert!(standing.expires > standing.from && !standing.hosts.is_empty());
    }
    if let Ok(trust) = approval::Trust::parse(text) {
        assert!(trust.required >= 1, "a trust file that asks for nobody was accepted");
        assert!(trust.signer(approval::NAMESPACE, b"x", text).is_err());
    }
}

const POLICY: &str = include_str!("../../crates/fother-core/tests/policy.toml");

fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Policy::parse(text) {
        Ok(policy) => {
            let _ = policy.digest();
            for group in policy.group.values() {
                assert!(group.select.len() <= fother_core::policy::SELECTOR_BYTES_MAX);
                assert_eq!(policy.checks_of(group).len(), group.checks.len());
            }
        }
        Err(error) => assert!(!error.0.is_empty(), "refused without a reason"),
    }
}

fn pack_seeds() -> Vec<Vec<u8>> {
    texts_of(&fother_core::rank::rules::BUILT_IN)
}

fn pack(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(pack) = Pack::parse(text) else { return };
    let none = fother_core::rank::rules::Facts { kev: true, publicly_exposed: None, automatable: None, total_impact: None, severity: None };
    let _ = pack.judge(&none);
    let _ = pack.counts(fother_core::advisory::Day(20_000));
}

fn window_seeds() -> Vec<Vec<u8>> {
    texts_of(&[
        "Europe/Berlin\nFREQ=WEEKLY;BYDAY=SU;BYHOUR=1;BYMINUTE=0",
        "America/St_Johns\nFREQ=MONTHLY;BYDAY=-1SU;BYHOUR=2,3;BYMINUTE=30",
        "UTC\nFREQ=DAILY;BYHOUR=0",
        "Pacific/Apia\nFREQ=MONTHLY;BYMONTHDAY=31,-1;BYHOUR=23",
    ])
}

fn window(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some((timezone, start)) = text.split_once('\n') else { return };
    let window = Window { timezone: timezone.into(), start: start.into(), duration_s: 7_200, cutoff_s: 60 };
    let _ = window.validate();
    let Ok(found) = window::intervals(&window, Timestamp(1_790_000_000_000), 40) else { return };
    assert!(window.validate().is_ok(), "{text:?} opens but is not valid");
    assert!(!found.is_empty());
    assert!(found.iter().all(|one| one.start < one.last_start && one.last_start <= one.end), "{text:?}: {found:?}");
    assert!(found.windows(2).all(|pair| pair[0].end < pair[1].start), "{text:?}: {found:?}");
}

fn inventory_seeds() -> Vec<Vec<u8>> {
    let inventory = Inventory {
        hostname: "web-1".into(),
        distribution: Default::default(),
        architecture: "amd64".into(),
        kernel: "6.1.0-18-amd64".into(),
        boot_id: String::new(),
        packages: Vec::new(),
        sources: Vec::new(),
        services: Vec::new(),
        reboot: fother_core::inventory::Reboot::Unknown { reasons: vec!["x".into()] },
        other_patchers: vec!["y".into()],
        unknown: Vec::new(),
    };
    serde_json::to_vec(&inventory).into_iter().collect()
}

fn inventory(data: &[u8]) {
    let Ok(inventory) = Inventory::parse(data) else { return };
    let bytes = serde_json::to_vec(&inventory).expect("what was read can be written");
    assert_eq!(Inventory::parse(&bytes).expect("what was written can be read"), inventory);
    let _ = (inventory.digest(), inventory.base());
}

fn check_in(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Some(token) = Token::parse(text)
    {
        assert_eq!(Token::parse(&token.text()).map(|again| again.text()), Some(token.text()));
    }
    if let Ok(check_in) = serde_json::from_slice::<CheckIn>(data) {
        let bytes = serde_json::to_vec(&check_in).expect("what was read can be written");
        let again: CheckIn = serde_json::from_slice(&bytes).expect("what was written can be read");
        assert_eq!(serde_json::to_vec(&again).expect("it can be written again"), bytes);
    }
}

fn bill_seeds() -> Vec<Vec<u8>> {
    let purl = "pkg:deb/debian/bsdutils@2.38.1-5%2Bdeb12u3?arch=amd64&distro=debian-12.11&epoch=1&upstream=util-linux%402.38.1";
    let cyclonedx = format!(
        r#"{{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":{{"component":{{"type":"container","name":"x"}}}},"components":[{{"type":"operating-system","name":"debian","version":"12"}},{{"type":"library","name":"b","version":"x","purl":"{purl}","properties":[{{"name":"aquasecurity:trivy:SrcName","value":"u"}}],"components":[{{"name":"c","purl":"pkg:npm/a@1"}}]}}]}}"#
    );
    let spdx = format!(
        r#"{{"spdxVersion":"SPDX-2.3","packages":[{{"name":"b","versionInfo":"x","sourceInfo":"built package from: util-linux 2.38.1-5+deb12u3","externalRefs":[{{"referenceCategory":"PACKAGE-MANAGER","referenceType":"purl","referenceLocator":"{purl}"}}]}}]}}"#
    );
    let tags = format!(
        "SPDXVersion: SPDX-2.3\nPackageName: b\nPackageVersion: x\nPackageSourceInfo: <text>built package from:\n util-linux 2</text>\nExternalRef: PACKAGE-MANAGER purl {purl}\n"
    );
    texts_of(&[&cyclonedx, &spdx, &tags])
}

fn bill(data: &[u8]) {
    let Ok(bill) = sbom::parse(data) else { return };
    assert!(bill.components.is_sorted());
    let (all, unknown) = (bill.components.len(), bill.unknown.len());
    let (packages, others, unread) = bill.split();
    assert_eq!(packages.len() + others.len() + unread.len(), all + unknown, "a component was dropped without a word");
}

/// One of each form.
const LOCKS: &[(&str, &str)] = &[
    (
        "package-lock.json",
        "{\"lockfileVersion\":1,\"dependencies\":{\"c\":{\"version\":\"2\",\"dependencies\":{\"d\":{\"version\":\"npm:e@3\"}}}}}",
    ),
    ("package-lock.json", "{\"lockfileVersion\":3,\"packages\":{\"\":{\"name\":\"x\"},\"node_modules/@a/b\":{\"version\":\"1.0.0\"}}}"),
    ("pnpm-lock.yaml", "lockfileVersion: '6.0'\npackages:\n  /a@1.0.0:\n    dev: false\n  /@s/b@2.0.0(a@1.0.0):\n    dev: true\n"),
    ("pnpm-lock.yaml", "lockfileVersion: 5.4\npackages:\n  /@s/b/2.0.0_a@1.0.0: {dev: true}\n"),
    ("yarn.lock", "# yarn lockfile v1\n\n\"@babel/core@^7.0.0\", \"a@npm:b@1\":\n  version \"7.1.2\"\n"),
    ("yarn.lock", "__metadata:\n  version: 6\n\n\"a@npm:^1\":\n  version: 1.0.0\n  resolution: \"a@npm:1.0.0\"\n"),
    ("go.mod", "module m\ngo 1.21\nrequire (\n\tx.test/y v1.2.3 // indirect\n)\nreplace x.test/y v1.2.3 => x.test/z v1.0.0\n"),
    ("Gemfile.lock", "GEM\n  specs:\n    nokogiri (1.15.4-x86_64-linux)\n      racc (~> 1.4)\n"),
    ("composer.lock", "{\"packages\":[{\"name\":\"a/b\",\"version\":\"v1.0\"}]}"),
    ("gradle.lockfile", "g:a:1.0=x,y\nempty=\n"),
    (
        "pom.xml",
        "<project><properties><v>1</v></properties><dependencies><dependency><groupId>g</groupId><artifactId>a</artifactId><version>${v}</version></dependency></dependencies></project>",
    ),
    ("Pipfile.lock", "{\"_meta\":{},\"default\":{\"a\":{\"version\":\"==1\"}}}"),
    ("requirements.txt", "a[x]==1.0 ; python_version > '3' \\\n  --hash=sha256:0\n-r b.txt\n"),
];

fn lock_seeds() -> Vec<Vec<u8>> {
    let mut seeds = LOCKS
        .iter()
        .filter_map(|(name, text)| {
            let which = lock::NAMES.iter().position(|known| known == name).and_then(|at| u8::try_from(at).ok())?;
            Some([&[which], text.as_bytes()].concat())
        })
        .collect::<Vec<_>>();
    seeds.extend(texts_of(&[
        "\0version = 4\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n[[package]]\nname = \"b\"\nversion = \"1\"\nsource = \"git+https://x\"\n",
        "\u{1}[[package]]\nname = \"A_b\"\nversion = \"1.0\"\n",
        "\u{2}[[package]]\nname = \"a\"\nversion = \"1.0\"\nsource = { registry = \"https://pypi.org/simple\" }\n",
        "\u{3}{\"lockfileVersion\":3,\"packages\":{\"\":{\"name\":\"x\"},\"node_modules/@a/b\":{\"version\":\"1.0.0\"}},\"dependencies\":{\"c\":{\"version\":\"2\",\"dependencies\":{\"d\":{\"version\":\"3\"}}}}}",
        "\u{4}a==1.0 ; python_version < '3'\nB[x]>=2\n-r other.txt\n--hash=sha256:0\n",
        "\u{5}module x\n\ngo 1.22\n\nrequire (\n\tgolang.org/x/net v0.1.0 // indirect\n)\nreplace a => b v1.0.0\n",
    ]));
    seeds
}

fn lock_file(data: &[u8]) {
    let Some((which, data)) = data.split_first() else { return };
    let Some(name) = lock::NAMES.get(usize::from(*which) % lock::NAMES.len()) else { return };
    if let Ok(bill) = lock::parse(name, data) {
        assert!(bill.components.is_sorted());
        assert!(bill.components.iter().all(|component| !component.kind.is_empty()), "{bill:?}");
    }
}
