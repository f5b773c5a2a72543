//! What the demo measured: stages with their times, figures, and the lines of the summary.

use std::time::{Duration, Instant};

/// Collects the figures as the demo goes.
pub struct Summary {
    started: Instant,
    stage: Option<(String, Instant)>,
    times: Vec<(String, Duration)>,
    lines: Vec<(String, String)>,
}

impl Summary {
    /// Starts the clock.
    pub fn new() -> Self {
        Self { started: Instant::now(), stage: None, times: Vec::new(), lines: Vec::new() }
    }

    /// Ends the present stage and begins the next.
    pub fn stage(&mut self, name: &str) {
        self.end_stage();
        println!("\n━━ {name}");
        self.stage = Some((name.to_owned(), Instant::now()));
    }

    /// A measured figure for the end.
    pub fn figure(&mut self, what: &str, value: impl Into<String>) {
        let value = value.into();
        println!("   {what}: {value}");
        self.lines.push((what.to_owned(), value));
    }

    fn end_stage(&mut self) {
        if let Some((name, since)) = self.stage.take() {
            self.times.push((name, since.elapsed()));
        }
    }

    /// Prints everything.
    pub fn print(&mut self) {
        self.end_stage();
        println!("\n━━ Summary");
        for (what, value) in &self.lines {
            println!("   {what:<34} {value}");
        }
        println!();
        let longest = self.times.iter().map(|(_, time)| time.as_millis()).max().unwrap_or(1).max(1);
        for (name, time) in &self.times {
            let width = usize::try_from(time.as_millis() * 30 / longest).unwrap_or(0).max(1);
            println!("   {name:<34} {:>6.1} s  {}", time.as_secs_f64(), "▇".repeat(width));
        }
        println!("   {:<34} {:>6.1} s", "in all", self.started.elapsed().as_secs_f64());
    }
}
