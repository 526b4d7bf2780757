//! cargo xtask: the checks that a compiler does not make. `cargo xtask tidy` runs them; so does `cargo test`.
#![expect(clippy::print_stdout, reason = "a program whose result is what it prints")]

mod tidy;

use std::process::ExitCode;

fn main() -> ExitCode {
    let command = std::env::args().nth(1);
    if command.as_deref() != Some("tidy") {
        println!("usage: cargo xtask tidy");
        return ExitCode::from(2);
    }
    let complaints = tidy::check(&tidy::repository_root());
    for complaint in &complaints {
        println!("{complaint}");
    }
    if complaints.is_empty() {
        println!("tidy");
        return ExitCode::SUCCESS;
    }
    println!("{} complaints", complaints.len());
    ExitCode::FAILURE
}
