//! The scripts, as they are sent: without their comments and indentation, which would be a fifth of them.

/// Reads a script of the folder `scripts` when the program is compiled.
macro_rules! script {
    ($name:literal) => {{
        const TEXT: &[u8] = include_bytes!(concat!("scripts/", $name));
        const BARE: [u8; bare(TEXT, &mut [])] = {
            let mut kept = [0; bare(TEXT, &mut [])];
            bare(TEXT, &mut kept);
            kept
        };
        match core::str::from_utf8(&BARE) {
            Ok(text) => text,
            Err(_) => "",
        }
    }};
}

/// Copies a text without lines of comment and without the spaces before lines, as far as there is room, and tells how
/// long it is. No script has a text of several lines.
#[allow(
    clippy::indexing_slicing,
    reason = "a constant function has nothing else, and a mistake fails the build"
)]
const fn bare(text: &[u8], kept: &mut [u8]) -> usize {
    let (mut at, mut length) = (0, 0);
    while at < text.len() {
        while at < text.len() && text[at] == b' ' {
            at += 1;
        }
        let is_comment = at < text.len() && text[at] == b'#';
        let mut goes_on = at < text.len();
        while goes_on {
            if !is_comment {
                if length < kept.len() {
                    kept[length] = text[at];
                }
                length += 1;
            }
            goes_on = text[at] != b'\n' && at + 1 < text.len();
            at += 1;
        }
    }
    length
}

pub const SESSION: &str = script!("session.sh");
pub const GUARD: &str = script!("guard.sh");
pub const STORE: &str = script!("store.sh");
pub const UPLOAD: &str = script!("upload.sh");
pub const START: &str = script!("start.sh");
pub const PUSH: &str = script!("push.sh");
pub const EVENTS: &str = script!("events.sh");
pub const INTERRUPT: &str = script!("interrupt.sh");
pub const DELETE: &str = script!("delete.sh");
pub const GIT: &str = script!("git.sh");
pub const DRIVER: &str = script!("driver.sh");
pub const TRIAL: &str = script!("trial.sh");

#[cfg(test)]
mod tests {
    use super::{DRIVER, bare};

    #[test]
    fn only_comments_and_indentation_are_left_out() {
        for (text, expected) in [
            ("", ""),
            ("a\n", "a\n"),
            ("# c\n  a # b\n\n  # d\n\tx", "a # b\n\n\tx"),
            ("  ", ""),
            ("#", ""),
        ] {
            let mut kept = [0; 32];
            let length = bare(text.as_bytes(), &mut kept);
            assert_eq!(std::str::from_utf8(&kept[..length]), Ok(expected));
        }
        assert!(DRIVER.starts_with("turn=$state"));
    }
}
