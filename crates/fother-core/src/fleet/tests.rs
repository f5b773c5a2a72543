//! The index against a naive list of hosts: the same answers whatever came, changed and went.

use super::{Index, query::Query, query::Relation};
use crate::{id::HostId, inventory::Distribution, package::Installed, version::scheme::Scheme};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const NAMES: [(&str, &str); 5] =
    [("libssl3", "openssl"), ("openssl", "openssl"), ("nginx", "nginx"), ("linux-image-6", "linux-signed-amd64"), ("nano", "nano")];
const VERSIONS: [&str; 6] = ["1.0-1", "1.0-1+deb12u1", "1.0-2", "1:0.5-1", "2.0~rc1-1", "2.0-1~bpo12+1"];

fn installed((name, version): (usize, usize)) -> Installed {
    let (name, source) = NAMES[name];
    let version: crate::version::Version = VERSIONS[version].parse().unwrap();
    let (name, source) = (name.to_owned(), source.to_owned());
    Installed { name, arch: "amd64".into(), version: version.clone(), source, source_version: version, broken: None, held: false }
}

fn distribution(codename: &str) -> Distribution {
    Distribution { id: "debian".into(), version: String::new(), codename: codename.into() }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, bool, Vec<(usize, usize)>),
    Like(u8, u8),
    Remove(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let packages = prop::collection::vec((0..NAMES.len(), 0..VERSIONS.len()), 0..6);
    let step = prop_oneof![
        4 => (0..8_u8, any::<bool>(), packages).prop_map(|(host, old, packages)| Step::Put(host, old, packages)),
        1 => (0..8_u8, 0..8_u8).prop_map(|(host, other)| Step::Like(host, other)),
        1 => (0..8_u8).prop_map(Step::Remove),
    ];
    prop::collection::vec(step, 0..40)
}

type Model = BTreeMap<HostId, (Distribution, Vec<Installed>)>;

fn run(steps: &[Step]) -> (Index, Model) {
    let (mut index, mut model) = (Index::default(), Model::new());
    let host = |number: &u8| HostId(u128::from(*number));
    for step in steps {
        match step {
            Step::Put(number, old, packages) => {
                let distribution = distribution(if *old { "bullseye" } else { "bookworm" });
                let packages: Vec<Installed> = packages.iter().copied().map(installed).collect();
                index.put(host(number), &distribution, &packages).unwrap();
                model.insert(host(number), (distribution, packages));
            }
            Step::Like(number, other) => {
                let held = model.get(&host(other)).cloned();
                assert_eq!(index.put_like(host(number), host(other)), Ok(held.is_some()));
                model.extend(held.map(|held| (host(number), held)));
            }
            Step::Remove(number) => assert_eq!(index.remove(host(number)), model.remove(&host(number)).is_some()),
        }
    }
    (index, model)
}

fn naive(model: &Model, name: &str, fits: impl Fn(&str) -> bool) -> BTreeSet<HostId> {
    let holds = |p: &Installed| {
        if p.name == name { fits(p.version.as_str()) } else { p.source == name && fits(p.source_version.as_str()) }
    };
    model.iter().filter(|(_, (_, packages))| packages.iter().any(holds)).map(|(host, _)| *host).collect()
}

proptest! {
    #[test]
    fn a_fleet_answers_as_a_list_of_its_hosts_does(steps in steps()) {
        let (index, model) = run(&steps);
        for (name, _) in NAMES {
            let any: BTreeSet<HostId> = index.names(&index.holding(name, None).hosts).collect();
            prop_assert_eq!(any, naive(&model, name, |_| true), "{}", name);
            for wanted in VERSIONS {
                let answer = index.holding(name, Some((Relation::Before, wanted)));
                let before: BTreeSet<HostId> = index.names(&answer.hosts).collect();
                let fits = |version: &str| Scheme::Dpkg.compare(version, wanted).is_some_and(std::cmp::Ordering::is_lt);
                prop_assert_eq!(&before, &naive(&model, name, fits), "{} before {}", name, wanted);
                // Each line names its own hosts, and together they are all.
                let lines: BTreeSet<HostId> = answer.found.iter().flat_map(|found| index.names(&found.hosts).collect::<Vec<_>>()).collect();
                prop_assert_eq!(lines, before);
            }
        }
    }

    #[test]
    fn what_nobody_holds_any_more_leaves_nothing_behind(steps in steps()) {
        let (mut index, model) = run(&steps);
        let key = |d: &Distribution, p: &Installed| (d.codename.clone(), p.name.clone(), p.version.as_str().to_owned());
        let sets: BTreeSet<BTreeSet<_>> = model.values().map(|(d, all)| all.iter().map(|p| key(d, p)).collect()).collect();
        let packages: BTreeSet<_> = sets.iter().flatten().collect();
        prop_assert_eq!((index.hosts(), index.sets(), index.packages()), (model.len(), sets.len(), packages.len()));
        for host in model.keys() {
            prop_assert!(index.remove(*host));
        }
        prop_assert_eq!((index.hosts(), index.sets(), index.packages(), index.judged()), (0, 0, 0, 0));
        prop_assert!(index.by_source.is_empty());
    }
}

#[test]
fn a_host_with_too_many_packages_is_refused_and_nothing_old_is_said_about_it() {
    let mut index = Index::default();
    let many = vec![installed((0, 0)); super::HOST_PACKAGES_MAX + 1];
    index.put(HostId(1), &distribution("bookworm"), &many[..1]).unwrap();
    assert_eq!(index.put(HostId(1), &distribution("bookworm"), &many), Err(super::Full::Host));
    assert_eq!((index.hosts(), index.packages()), (0, 0));
}

#[test]
fn signed_kernels_and_backports_stand_under_what_judges_them() {
    let mut index = Index::default();
    index.put(HostId(1), &distribution("bookworm"), &[installed((3, 1)), installed((4, 5))]).unwrap();
    let sources: Vec<(String, String)> =
        index.by_source.iter().flat_map(|(release, all)| all.keys().map(move |source| (release.to_string(), source.to_string()))).collect();
    assert_eq!(sources, [("debian:bookworm".into(), "linux".into()), ("debian:trixie".into(), "nano".into())]);
}

#[test]
fn questions_are_read_as_people_write_them() {
    let package = |relation, version: &str| Query::Package { name: "openssl".into(), versions: (relation, version.into()) };
    assert_eq!("openssl<3.0.20".parse(), Ok(package(Relation::Before, "3.0.20")));
    assert_eq!("openssl <= 1:3.0".parse(), Ok(package(Relation::UpTo, "1:3.0")));
    assert_eq!("openssl>=3".parse(), Ok(package(Relation::From, "3")));
    assert_eq!("openssl>3".parse(), Ok(package(Relation::After, "3")));
    assert_eq!("openssl=3-1".parse(), Ok(package(Relation::Is, "3-1")));
    assert_eq!("CVE-2026-1".parse(), Ok(Query::Name("CVE-2026-1".into())));
    for bad in ["", "<1", "openssl<", "openssl<a b", "two words", &"x".repeat(600)] {
        assert!(bad.parse::<Query>().is_err(), "{bad}");
    }
}
