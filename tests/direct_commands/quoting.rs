//! Quoting: every text is one word of a command, or the value of a variable, and nothing else.

use cloud_agent_session::direct::command::Script;
use cloud_agent_wire::ShellWord;

use crate::random_numbers::RandomNumbers;
use crate::{page, run};

const SHELLS: [&str; 2] = ["/bin/sh", "/bin/bash"];
const SEED: u64 = 0x5EED;

/// What a shell makes of a script that prints words with NULs behind them.
fn printed(shell: &str, script: &str) -> Vec<String> {
    let output = run(shell, script);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{script}");
    let text = String::from_utf8(output.stdout).expect("words are text");
    let mut words: Vec<_> = text.split('\0').map(str::to_owned).collect();
    assert_eq!(words.pop().as_deref(), Some(""));
    words
}

/// Texts that mean something to shells, URLs, git or people, and random ones that are made of such characters.
fn texts() -> Vec<String> {
    let rows = page::rows("words").into_iter();
    let mut texts: Vec<String> = rows.map(|row| row.expanded("")).collect();
    texts.retain(|text| !text.contains('\0'));
    let marks: Vec<char> = "'\"\\$`;&|<>(){}[]*?!#~=%:@/+-_., \t\n\rabc019\u{1}\u{7f}é\u{3000}💥"
        .chars()
        .collect();
    let mut numbers = RandomNumbers::new(SEED);
    for _ in 0..4_000 {
        let length = numbers.below(24);
        texts.push((0..length).map(|_| numbers.choose(&marks)).collect());
    }
    // Every character that a token may have.
    texts.push((0x21..=0x7e_u8).map(char::from).collect());
    texts.push("'".repeat(4096));
    texts
}

#[test]
fn every_text_is_one_word_and_that_word() {
    let texts = texts();
    for shell in SHELLS {
        for some in texts.chunks(200) {
            let words: Vec<&str> = some.iter().map(String::as_str).collect();
            let line = ShellWord::line(&words).expect("no text has a NUL");
            assert_eq!(printed(shell, &format!("printf '%s\\0' {line}")), some);
        }
    }
}

#[test]
fn every_text_is_what_a_variable_of_a_script_holds() {
    let texts = texts();
    for shell in SHELLS {
        for some in texts.chunks(200) {
            let mut script = Script::default();
            for text in some {
                script.set(&[("value", text)]).expect("no text has a NUL");
                script.then("printf '%s\\0' \"$value\"\n");
            }
            let script = script.finish();
            assert_eq!(printed(shell, script.expose()), some);
        }
    }
}

#[test]
fn a_text_with_a_nul_is_put_into_no_script() {
    assert!(Script::default().set(&[("value", "a\0b")]).is_err());
}
