//! Decision tables of the Stakeholder-Specific Vulnerability Categorization, read from CERT/CC's CSV files.

use std::collections::{BTreeMap, BTreeSet};

/// Largest table, in bytes.
pub const TABLE_BYTES_MAX: usize = 1 << 20;

/// A decision table: every combination of its inputs leads to one outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The decision points that go in, without their versions: `Exploitation`.
    pub inputs: Vec<String>,
    /// The decision that comes out.
    pub outcome: String,
    rows: BTreeMap<Vec<String>, String>,
    domains: Vec<BTreeSet<String>>,
}

impl Table {
    /// Reads a table (header line, a `row` column first, the outcome last; RFC 4180 quotes).
    ///
    /// # Errors
    /// Where it is malformed, two rows contradict each other, or a combination is missing.
    pub fn parse(csv: &str) -> Result<Self, String> {
        if csv.len() > TABLE_BYTES_MAX {
            return Err(format!("the table is larger than {TABLE_BYTES_MAX} bytes"));
        }
        let mut lines = csv.lines().map(|line| line.trim_end_matches('\r')).filter(|line| !line.is_empty());
        let header = fields(lines.next().ok_or("the table is empty")?);
        if header.len() < 3 {
            return Err("the table has no inputs".into());
        }
        let names: Vec<String> = header[1..].iter().map(|name| without_version(name)).collect();
        let (inputs, outcome) = names.split_at(names.len() - 1);
        let mut table = Self {
            inputs: inputs.to_vec(),
            outcome: outcome[0].clone(),
            rows: BTreeMap::new(),
            domains: vec![BTreeSet::new(); inputs.len()],
        };
        for (number, line) in lines.enumerate() {
            let mut row: Vec<String> = fields(line).into_iter().skip(1).map(|value| value.to_lowercase()).collect();
            let Some(outcome) = row.pop().filter(|_| row.len() == table.inputs.len()) else {
                return Err(format!("row {number} has not {} values", table.inputs.len() + 1));
            };
            for (domain, value) in table.domains.iter_mut().zip(&row) {
                domain.insert(value.clone());
            }
            if table.rows.insert(row, outcome).is_some() {
                return Err(format!("row {number} repeats the inputs of an earlier row"));
            }
        }
        let combinations = table.domains.iter().try_fold(1_usize, |product, domain| product.checked_mul(domain.len()));
        if combinations != Some(table.rows.len()) {
            return Err(format!("the table has {} rows, not every combination of its inputs", table.rows.len()));
        }
        Ok(table)
    }

    /// The outcome for one value of each input, in the order of [`Table::inputs`]; case does not count.
    #[must_use]
    pub fn decide(&self, values: &[&str]) -> Option<&str> {
        let key: Vec<String> = values.iter().map(|value| value.to_lowercase()).collect();
        self.rows.get(&key).map(String::as_str)
    }

    /// Every outcome that the known inputs leave open, with the inputs that lead there; `None` is an input that is not known.
    #[must_use]
    pub fn open<'a>(&'a self, values: &[Option<&str>]) -> Vec<(&'a [String], &'a str)> {
        let fits = |row: &[String]| row.iter().zip(values).all(|(have, want)| want.is_none_or(|want| have.eq_ignore_ascii_case(want)));
        let rows = self.rows.iter().filter(|(row, _)| values.len() == row.len() && fits(row));
        rows.map(|(row, outcome)| (row.as_slice(), outcome.as_str())).collect()
    }

    /// All rows, inputs and outcome.
    pub fn rows(&self) -> impl Iterator<Item = (&[String], &str)> {
        self.rows.iter().map(|(row, outcome)| (row.as_slice(), outcome.as_str()))
    }
}

/// `In KEV v1.0.0 (cisa)` as `In KEV`.
fn without_version(name: &str) -> String {
    let end = name.rfind(" v").filter(|at| name[at + 2..].starts_with(|c: char| c.is_ascii_digit()));
    name[..end.unwrap_or(name.len())].to_owned()
}

/// One CSV line's fields (RFC 4180 without line breaks inside quotes, which these tables do not have).
fn fields(line: &str) -> Vec<String> {
    let (mut out, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => out.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    out.push(field);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_inputs_leave_outcomes_open_and_gaps_are_refused() {
        let table =
            Table::parse("row,A v1.0.0,B v1.0.0 (x),\"C, D v1.0.0\"\n0,no,low,wait\n1,yes,low,act\n2,no,high,wait\n3,yes,high,act\n")
                .unwrap();
        assert_eq!((table.inputs.join("|"), table.outcome.as_str()), ("A|B".to_owned(), "C, D"));
        assert_eq!(table.decide(&["Yes", "LOW"]), Some("act"));
        assert_eq!(table.decide(&["maybe", "low"]), None);
        assert_eq!(table.open(&[None, Some("high")]).len(), 2);
        assert!(Table::parse("row,A v1,B v1\n0,x,y\n1,x,z\n").is_err());
        assert!(Table::parse("row,A v1,B v1,C v1\n0,x,y,z\n1,x2,y2,z\n").is_err());
        assert!(Table::parse("").is_err());
    }
}
