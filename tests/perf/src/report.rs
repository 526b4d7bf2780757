//! Rows as they come, and the budgets of DESIGN.md section 5 with whether they were met.

use std::fmt::Write as _;

use crate::measure::Series;

/// What was measured and judged.
#[derive(Debug)]
pub(crate) struct Report {
    budgets: Vec<(String, String, bool)>,
}

impl Report {
    /// Nothing measured yet.
    pub(crate) fn new() -> Self {
        Self { budgets: Vec::new() }
    }

    /// Prints a heading.
    pub(crate) fn heading(&self, text: &str) {
        println!("\n{text}");
        println!("  {:<42} {:>10} {:>10} {:>10} {:>8}", "", "median ms", "min ms", "CPU ms", "ratio");
    }

    /// Prints a row; `base` is what the ratio of medians is taken against.
    pub(crate) fn row(&self, name: &str, series: &Series, base: &Series) {
        println!(
            "  {name:<42} {:>10.2} {:>10.2} {:>10.2} {:>8.2}",
            series.median(),
            series.min(),
            series.cpu(),
            series.median() / base.median()
        );
    }

    /// Prints a line of another form.
    pub(crate) fn line(&self, text: &str) {
        println!("  {text}");
    }

    /// Notes a budget with the figure that was found.
    pub(crate) fn budget(&mut self, what: &str, found: &str, met: bool) {
        println!("  budget: {what}: {found}: {}", if met { "met" } else { "NOT MET" });
        self.budgets.push((what.to_owned(), found.to_owned(), met));
    }

    /// All budgets again.
    pub(crate) fn summary(&self) -> String {
        let mut text = String::from("\nBudgets of DESIGN.md section 5\n");
        for (what, found, met) in &self.budgets {
            let verdict = if *met { "met" } else { "NOT MET" };
            let _ = writeln!(text, "  {verdict:<8} {what}: {found}");
        }
        let met = self.budgets.iter().filter(|(_, _, met)| *met).count();
        let _ = write!(text, "{met} of {} met", self.budgets.len());
        text
    }
}
