//! The live page, and what a browser may do with it.
//!
//! Knows the page as text.
//!
//! Rule: the page consists of one file. So a browser runs the script and the style that stand in
//! it, by their hashes, and loads nothing but numbers from this server.

use base64ct::{Base64, Encoding as _};
use sha2::{Digest as _, Sha256};

pub(super) const PAGE: &str = include_str!("page.html");

/// The policy (Content-Security-Policy, CSP3) of the page.
pub(super) fn policy() -> String {
    let [script, style] = ["script", "style"].map(|tag| {
        let inline = inside(PAGE, tag);
        let inline = inline.expect("the page has one of each, as a test says");
        Base64::encode_string(&Sha256::digest(inline))
    });
    format!(
        "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; \
         connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
}

/// What stands in the one element of that name.
fn inside<'a>(page: &'a str, tag: &str) -> Option<&'a str> {
    let (_, rest) = page.split_once(&format!("<{tag}>"))?;
    let (inside, rest) = rest.split_once(&format!("</{tag}>"))?;
    (!rest.contains(&format!("<{tag}"))).then_some(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_one_script_and_one_style() {
        for tag in ["script", "style"] {
            assert!(inside(PAGE, tag).is_some(), "{tag}");
        }
        assert_eq!(inside("<style>a</style><style>b</style>", "style"), None);
        assert_eq!(inside("<p><style>a{}</style></p>", "style"), Some("a{}"));
    }
}
