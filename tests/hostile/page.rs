//! Rows of hostile inputs, and the page that shows what came of them.
//!
//! Inputs lie in JSON files, which native and end-to-end tests share: `«T»` stands for a secret that is made at run
//! time, `«x*5»` for `xxxxx`. `docs/hostile-inputs.md` is written by the tests themselves, with `UPDATE_DOCS=1`;
//! otherwise a table that does not say what was seen just now fails.

use std::fmt::Write as _;
use std::sync::Mutex;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hostile");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/hostile-inputs.md");

/// Tests of one program share the page.
static WRITING: Mutex<()> = Mutex::new(());

/// An input and what is expected of it.
#[derive(serde::Deserialize)]
pub struct Row {
    pub input: String,
    pub expected: String,
}

impl Row {
    /// The input itself.
    pub fn expanded(&self, secret: &str) -> String {
        expand(&self.input, secret)
    }
}

/// A row of the page.
pub struct Result {
    pub input: String,
    pub expected: String,
    pub seen: String,
}

impl Result {
    /// What was seen of a row.
    pub fn of(row: &Row, seen: impl Into<String>) -> Self {
        Self {
            input: row.input.clone(),
            expected: row.expected.clone(),
            seen: seen.into(),
        }
    }
}

/// The rows of a file of inputs. A runtime's test reads them from the folder above its own.
pub fn rows(name: &str) -> Vec<Row> {
    let path = root(FOLDER).join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path).expect("the rows are there");
    serde_json::from_str(&text).expect("the file holds rows")
}

fn root(path: &str) -> std::path::PathBuf {
    std::path::PathBuf::from(path.replace("/runtime/", "/"))
}

/// Replaces what stands for a secret or for a long text.
fn expand(text: &str, secret: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('«') {
        let (name, after) = after.split_once('»').expect("a mark has an end");
        result.push_str(before);
        match name.rsplit_once('*') {
            Some((unit, times)) => result.push_str(&unit.repeat(times.parse().expect("a number"))),
            None => result.push_str(&spell(name, secret)),
        }
        rest = after;
    }
    result + rest
}

/// A secret in one of the forms that inputs name.
fn spell(name: &str, secret: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    let each = |spell: fn(u8) -> String| secret.bytes().map(spell).collect::<Vec<_>>().concat();
    let json = |text: &str| {
        let quoted = serde_json::to_string(text).expect("text serializes");
        let inside = quoted
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        inside.expect("a text is quoted").to_owned()
    };
    match name {
        "T" => secret.to_owned(),
        "base64:T" => STANDARD.encode(secret),
        "base64url:T" => URL_SAFE_NO_PAD.encode(secret),
        "base64:x-access-token:T" => STANDARD.encode(format!("x-access-token:{secret}")),
        "percent:T" => each(|byte| percent(byte, false, true)),
        "percent lower:T" => each(|byte| percent(byte, false, false)),
        "percent all:T" => each(|byte| percent(byte, true, true)),
        "percent twice:T" => each(|byte| percent(byte, false, true)).replace('%', "%25"),
        "json:T" => json(secret),
        "json twice:T" => json(&json(secret)),
        "hex:T" => each(|byte| format!("{byte:02x}")),
        "HEX:T" => each(|byte| format!("{byte:02X}")),
        "ansi:T" => {
            let (start, end) = secret.split_at(secret.len() / 2);
            format!("{start}\u{1b}[1m{end}")
        }
        _ => panic!("no form has this name: {name}"),
    }
}

fn percent(byte: u8, is_all: bool, is_upper: bool) -> String {
    let is_plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    match (is_plain && !is_all, is_upper) {
        (true, _) => char::from(byte).to_string(),
        (false, true) => format!("%{byte:02X}"),
        (false, false) => format!("%{byte:02x}"),
    }
}

/// Fails when a text holds a secret in any form.
pub fn assert_hides(text: &str, secret: &str) {
    for form in [
        "T",
        "base64:T",
        "base64url:T",
        "percent:T",
        "percent lower:T",
        "json:T",
        "hex:T",
    ] {
        let spelled = spell(form, secret);
        assert!(
            !text.contains(spelled.trim_end_matches('=')),
            "{form} is in: {text}"
        );
    }
}

/// Compares a table of the page with what was seen, or writes it.
pub fn check(section: &str, results: &[Result]) {
    let mut table = "| input | expected | seen |\n| --- | --- | --- |\n".to_owned();
    for Result {
        input,
        expected,
        seen,
    } in results
    {
        let (input, expected, seen) = (code(input), cell(expected), cell(seen));
        writeln!(table, "| {input} | {expected} | {seen} |").expect("it is a text");
    }
    let _writing = WRITING
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let path = root(PAGE);
    let page = std::fs::read_to_string(&path).expect("the page is there");
    let open = format!("<!-- generated: {section} -->\n");
    let (before, rest) = page.split_once(&open).expect("the section has a mark");
    let (old, after) = rest
        .split_once("<!-- end -->")
        .expect("the mark has an end");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let page = format!("{before}{open}{table}<!-- end -->{after}");
        std::fs::write(&path, page).expect("the page can be written");
        return;
    }
    for (old, new) in old.lines().zip(table.lines()) {
        assert_eq!(
            old, new,
            "docs/hostile-inputs.md is stale: see tests/hostile/page.rs"
        );
    }
    assert_eq!(
        old.lines().count(),
        table.lines().count(),
        "docs/hostile-inputs.md is stale"
    );
}

/// An input as code of Markdown, with every character shown.
fn code(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars() {
        match character {
            '|' => shown.push_str("\\|"),
            '\'' | '"' | '\\' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    if shown.is_empty() {
        return "nothing".to_owned();
    }
    let fence = if shown.contains('`') { "``" } else { "`" };
    let space = if shown.starts_with(['`', ' ']) || shown.ends_with(['`', ' ']) {
        " "
    } else {
        ""
    };
    format!("{fence}{space}{shown}{space}{fence}")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
