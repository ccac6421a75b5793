//! The figures of the sweeps on `docs/verification.md`. `UPDATE_DOCS=1` writes them; otherwise a stale one fails, unless
//! `SIMULATION_FIGURES=any` says that the sources are not what they should be.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::exploration::Figures;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/verification.md");
const OPEN: &str = "<!-- generated: sweeps -->\n";
const CLOSE: &str = "<!-- end -->";

/// Sweeps run beside each other.
static WRITING: Mutex<()> = Mutex::new(());

/// Compares what a sweep came to with its row of the page. Only its time may differ.
pub fn check(name: &str, figures: &Figures, elapsed: Duration) {
    let Figures {
        histories,
        states,
        steps,
        crashes,
    } = figures;
    let start = format!("| {name} |");
    let counted = format!("{start} {histories} | {states} | {steps} | {crashes} |");
    let seconds = elapsed.as_secs_f64();
    println!("{counted} {seconds:.1} |");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        write(&start, &format!("{counted} {seconds:.1} |"));
        return;
    }
    if std::env::var_os("SIMULATION_FIGURES").is_some() {
        return;
    }
    let page = read();
    let row = page.lines().find(|line| line.starts_with(&start));
    assert!(
        row.is_some_and(|row| row.starts_with(&counted)),
        "docs/verification.md has {row:?}, the sweep came to {counted}: see tests/simulation/page.rs"
    );
}

fn read() -> String {
    std::fs::read_to_string(PAGE).expect("the page is there")
}

/// Puts a row in the place of the one with the same start, or after all others.
fn write(start: &str, row: &str) {
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let page = read();
    let (before, rest) = page.split_once(OPEN).expect("the table has a mark");
    let (table, after) = rest.split_once(CLOSE).expect("the mark has an end");
    let mut rows: Vec<_> = table.lines().collect();
    match rows.iter_mut().find(|line| line.starts_with(start)) {
        Some(old) => *old = row,
        None => rows.push(row),
    }
    let table = rows.join("\n");
    let page = format!("{before}{OPEN}{table}\n{CLOSE}{after}");
    std::fs::write(PAGE, page).expect("the page can be written");
}
