//! What a plan leaves out by itself: baselines, exceptions, what was rolled back; when it may begin, and by whose approval.

use super::fleet::{BERT, canned, enrolled, policy_with, signed, submitted, trust};
use crate::{Error, engine::Engine, reconcile};
use fother_core::{approval::NAMESPACE, plan::Plan, rollout::Phase};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

struct Bench {
    _dir: tempfile::TempDir,
    engine: Arc<Engine>,
    hosts: Vec<super::fleet::Host>,
}

impl Bench {
    /// One host that has answered.
    fn new(group: &str, rest: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (engine, _woken) = Engine::open(&dir.path().join("data"), policy_with(group, rest), trust(), canned(dir.path())).unwrap();
        let hosts = enrolled(&engine, 1);
        let mut bench = Self { _dir: dir, engine, hosts };
        bench.engine.update_archives("uid:0").unwrap();
        bench.engine.resolve("uid:0", "web", BTreeSet::new()).unwrap();
        bench.turn();
        bench
    }

    fn turn(&mut self) {
        self.hosts.iter_mut().for_each(|host| drop((host.turn(&self.engine), host.turn(&self.engine))));
    }

    /// As often as a small rollout needs.
    fn rounds(&mut self) {
        for _ in 0..5 {
            reconcile::round(&self.engine).unwrap();
            self.turn();
        }
    }

    /// Plans, rehearses, approves and starts.
    fn roll_out(&mut self) {
        let made = self.engine.make_plan("uid:0", "web", &BTreeMap::new(), None).unwrap();
        self.engine.rehearse("uid:0", made.plan, false).unwrap();
        self.turn();
        let (change, statement) = submitted(&self.engine, made.plan, &[]).unwrap();
        self.engine.approve("uid:0", change, &signed(BERT, NAMESPACE, statement.as_bytes())).unwrap();
        self.engine.start_rollout("uid:0", change, false).unwrap();
    }

    fn left_out(&self) -> Vec<String> {
        let left = self.engine.baseline("uid:0", "web", None).unwrap();
        left.into_iter().map(|(source, why)| format!("{source}: {why}")).collect()
    }

    fn plan(&self, emergency: Option<&str>) -> Result<Plan, Error> {
        let made = self.engine.make_plan("uid:0", "web", &BTreeMap::new(), emergency)?;
        self.engine.get(made.plan)
    }
}

fn code(error: &Error) -> &'static str {
    match error {
        Error::Refused(refusal) => refusal.code,
        other => panic!("{other}"),
    }
}

#[test]
fn what_the_baseline_leaves_out_cannot_be_planned() {
    let bench = Bench::new(
        "approvals = 1\nbaseline = \"standard\"",
        "[baseline.standard]\nclasses = [\"security\"]\ndeny = { nginx = \"its own team\" }",
    );
    assert_eq!(bench.left_out(), ["nginx: baseline standard: denied: its own team"]);
    let error = bench.plan(None).unwrap_err();
    assert_eq!(code(&error), "resolve-again");
    assert!(error.to_string().contains("its own team"), "{error}");
}

#[test]
fn an_update_of_unknown_age_waits_but_not_in_an_emergency() {
    let bench = Bench::new(
        "approvals = { required = 2, emergency = 1 }\nbaseline = \"standard\"",
        "[baseline.standard]\nclasses = [\"security\", \"bugfix\"]\napprove_after_days = 3\n[emergency.kev]\nreason = \"known exploited\"",
    );
    assert!(bench.left_out()[0].contains("is not known"), "{:?}", bench.left_out());
    assert_eq!(code(&bench.plan(None).unwrap_err()), "resolve-again");
    let plan = bench.plan(Some("kev")).unwrap();
    assert_eq!((plan.approvals, plan.terms.emergency.as_deref()), (1, Some("kev")));
    assert_eq!(code(&bench.plan(Some("vek")).unwrap_err()), "unknown-emergency");
}

#[test]
fn what_was_rolled_back_is_held_back_until_a_person_clears_it() {
    let mut bench = Bench::new("approvals = 1", "");
    bench.roll_out();
    bench.rounds();
    assert!(bench.left_out().is_empty());
    let rollout = *bench.engine.state().rollouts.keys().next().unwrap();
    bench.engine.rollback("uid:0", rollout).unwrap();
    bench.rounds();
    assert!(matches!(bench.engine.state().rollouts[&rollout].hosts().values().next(), Some(Phase::RolledBack { .. })));
    let left = bench.left_out();
    assert!(left[0].starts_with("nginx: version 1.1 was rolled back (web0: asked)"), "{left:?}");
    assert_eq!(code(&bench.plan(None).unwrap_err()), "resolve-again");
    let clear = |version: &str, reason: &str| bench.engine.clear_update("uid:0", "web", "nginx", version, reason);
    assert_eq!(code(&clear("1.2", "mended").unwrap_err()), "not-held");
    assert_eq!(code(&clear("1.1", " ").unwrap_err()), "no-reason");
    clear("1.1", "the site was mended").unwrap();
    let size = bench.engine.state().size;
    clear("1.1", "the site was mended").unwrap();
    assert_eq!(bench.engine.state().size, size, "clearing it again is no event");
    assert!(bench.left_out().is_empty());
    bench.plan(None).unwrap();
}

#[test]
fn a_freeze_is_in_the_plan_and_the_statement_and_holds_what_was_approved_before_it() {
    let rest = "[freeze.books]\nreason = \"closing\"\ntimezone = \"UTC\"\nstart = \"FREQ=MONTHLY;BYMONTHDAY=-1\"\nduration = \"1d\"";
    let bench = Bench::new("approvals = 1", rest);
    let plan = bench.plan(None).unwrap();
    assert_eq!(plan.terms.tzdata.as_deref(), Some(fother_core::window::tzdb_version()));
    assert!(plan.terms.openings.len() >= 3, "90 days hold two or three ends of months: {:?}", plan.terms.openings);
    let now = bench.engine.clock.now();
    let long = format!(
        "[freeze.long]\nreason = \"x\"\nfrom = \"2020-01-01T00:00:00Z\"\nto = \"{}\"",
        now + std::time::Duration::from_secs(400 * 86_400)
    );
    let bench = Bench::new("approvals = 1", &long);
    assert_eq!(code(&bench.plan(None).unwrap_err()), "frozen");
}

#[test]
fn a_freeze_that_comes_later_holds_a_running_rollout() {
    let mut bench = Bench::new("approvals = 1", "");
    bench.roll_out();
    let now = bench.engine.clock.now();
    let mut frozen = (*bench.engine.policy()).clone();
    let freeze = toml::from_str(&format!(
        "reason = \"x\"\nfrom = \"2020-01-01T00:00:00Z\"\nto = \"{}\"",
        now + std::time::Duration::from_secs(86_400)
    ));
    frozen.freeze.insert("now".to_owned(), freeze.unwrap());
    bench.engine.set_policy(frozen);
    bench.rounds();
    assert!(bench.hosts[0].done.is_empty(), "nothing was dispatched");
    bench.engine.set_policy(policy_with("approvals = 1", ""));
    bench.rounds();
    assert_eq!(bench.hosts[0].done.values().copied().collect::<Vec<_>>(), [1]);
}

#[test]
fn only_those_count_whom_the_policy_names() {
    let mut bench = Bench::new("approvals = { required = 1, from = [\"carla\"] }", "");
    let made = bench.engine.make_plan("uid:0", "web", &BTreeMap::new(), None).unwrap();
    bench.engine.rehearse("uid:0", made.plan, false).unwrap();
    bench.turn();
    let (change, statement) = submitted(&bench.engine, made.plan, &[]).unwrap();
    let error = bench.engine.approve("uid:0", change, &signed(BERT, NAMESPACE, statement.as_bytes())).unwrap_err();
    assert_eq!(code(&error), "not-asked");
}

/// Everything up to a completed rollout.
fn rolled_out(bench: &mut Bench) {
    bench.roll_out();
    bench.rounds();
}

#[test]
fn what_was_sent_out_before_a_freeze_and_not_begun_is_held_too() {
    let mut bench = Bench::new("approvals = 1", "");
    bench.roll_out();
    reconcile::round(&bench.engine).unwrap();
    assert_eq!(bench.engine.state().directives.values().filter(|issued| issued.order == "apply").count(), 1);
    let end = bench.engine.clock.now() + std::time::Duration::from_secs(86_400);
    let freeze = format!("[freeze.now]\nreason = \"x\"\nfrom = \"2020-01-01T00:00:00Z\"\nto = \"{end}\"");
    bench.engine.set_policy(policy_with("approvals = 1", &freeze));
    bench.turn();
    assert!(bench.hosts[0].done.is_empty(), "the host got nothing");
    bench.engine.set_policy(policy_with("approvals = 1", ""));
    bench.turn();
    assert_eq!(bench.hosts[0].done.len(), 1);
}

#[test]
fn a_group_that_follows_gets_the_versions_that_the_first_group_has_run() {
    let mut bench = Bench::new("approvals = 1", "");
    let staged = |soak: &str| {
        let text = format!(
            r#"
            [group.prod]
            select = 'role == "web"'
            window = "always"
            budget = {{ unavailable = 1 }}
            rollout = {{ canary = 1, waves = ["100%"], soak_s = 1 }}
            checks = ["up"]
            approvals = 1
            follows = {{ group = "web", soak = "{soak}" }}
            "#
        );
        policy_with("approvals = 1", &text)
    };
    bench.engine.set_policy(staged("0s"));
    let left = |bench: &Bench| bench.engine.baseline("uid:0", "prod", None).unwrap().into_values().next();
    assert_eq!(left(&bench).as_deref(), Some("group web does not run version 1.1 yet"));
    rolled_out(&mut bench);
    assert_eq!(left(&bench), None);
    bench.engine.make_plan("uid:0", "prod", &BTreeMap::new(), None).unwrap();
    bench.engine.set_policy(staged("7d"));
    assert!(left(&bench).unwrap().starts_with("group web runs version 1.1 since"), "{:?}", left(&bench));
}

#[test]
fn the_next_days_are_told_and_what_cannot_be_told_is_named() {
    let bench = Bench::new("approvals = 1", "");
    let ask = crate::Simulate { files: None, days: 30 };
    let told = bench.engine.simulate("uid:0", &ask).unwrap();
    assert!(told.unknown.is_empty(), "{:?}", told.unknown);
    let row = &told.forecast.rows[0];
    assert_eq!((row.group.as_str(), row.name.as_str(), row.updates["nginx"].as_str()), ("web", "web0", "1.1"));
    let size = bench.engine.state().size;
    let _more = enrolled(&bench.engine, 1);
    let told = bench.engine.simulate("uid:0", &ask).unwrap();
    assert_eq!(told.unknown.len(), 1);
    assert!(told.unknown[0].contains("web0 in group web has not said"), "{:?}", told.unknown);
    assert!(bench.engine.state().size > size);
    let files = Some(vec![("fother.toml".to_owned(), "[group.web".to_owned())]);
    assert!(matches!(bench.engine.simulate("uid:0", &crate::Simulate { files, days: 30 }), Err(Error::Input(_))));
    assert!(matches!(bench.engine.simulate("uid:0", &crate::Simulate { files: None, days: 0 }), Err(Error::Input(_))));
}

#[test]
fn an_exception_holds_an_update_back_until_its_end_which_is_an_event_once() {
    let exception = |expires: &str| {
        format!("[exception.old-nginx]\nowner = \"anna\"\nreason = \"breaks\"\npackages = [\"nginx\"]\nexpires = \"{expires}\"")
    };
    let bench = Bench::new("approvals = 1", &exception("2999-01-01T00:00:00Z"));
    assert!(bench.left_out()[0].starts_with("nginx: exception old-nginx of anna until 2999"), "{:?}", bench.left_out());
    reconcile::round(&bench.engine).unwrap();
    let size = bench.engine.state().size;
    bench.engine.set_policy(policy_with("approvals = 1", &exception("2020-01-01T00:00:00Z")));
    assert!(bench.left_out().is_empty());
    for _ in 0..3 {
        reconcile::round(&bench.engine).unwrap();
    }
    let state = bench.engine.state();
    assert_eq!((state.size, state.expired.len()), (size + 1, 1));
}
