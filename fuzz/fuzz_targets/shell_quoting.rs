//! A quoted text is one word that means the text, judged by a reader of the shell's quoting rules that is written here.
#![no_main]

use cloud_agent_wire::ShellWord;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let word = ShellWord::new(text);
    assert_eq!(word.is_err(), text.contains('\0'));
    if let Ok(word) = word {
        assert_eq!(read_word(word.as_str()).as_deref(), Some(text));
    }
});

/// What a POSIX shell makes of a word that has no expansions; `None` when it is more than one word, or anything else.
fn read_word(word: &str) -> Option<String> {
    let mut result = String::new();
    let mut characters = word.chars();
    let mut is_word = false;
    while let Some(character) = characters.next() {
        is_word = true;
        match character {
            '\'' => loop {
                match characters.next()? {
                    '\'' => break,
                    inside => result.push(inside),
                }
            },
            '\\' => result.push(characters.next()?),
            plain if plain.is_ascii_alphanumeric() || "/._-:=@%+,".contains(plain) => {
                result.push(plain);
            }
            _ => return None,
        }
    }
    is_word.then_some(result)
}
