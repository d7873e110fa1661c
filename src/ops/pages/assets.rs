//! Style and script: part of the binary, under addresses that name their content, so that browsers keep them for ever.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

/// A file that pages refer to.
#[derive(Debug)]
pub struct Asset {
    /// Its path on the server.
    pub path: String,
    /// `Content-Type`.
    pub kind: &'static str,
    /// Its content.
    pub body: &'static str,
}

/// `Cache-Control` of an asset: its address changes with its content.
pub const CACHE: &str = "public, max-age=31536000, immutable";

/// The style of all pages.
pub static STYLE: LazyLock<Asset> =
    LazyLock::new(|| asset("style", "css", "text/css; charset=utf-8", include_str!("style.css")));
/// The script of all pages.
pub static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| asset("app", "js", "text/javascript; charset=utf-8", include_str!("app.js")));
/// The icon of all pages.
pub static ICON: LazyLock<Asset> = LazyLock::new(|| asset("icon", "svg", "image/svg+xml", include_str!("icon.svg")));

/// The asset with this path.
pub fn find(path: &str) -> Option<&'static Asset> {
    [&*STYLE, &*SCRIPT, &*ICON].into_iter().find(|asset| asset.path == path)
}

fn asset(name: &str, extension: &str, kind: &'static str, body: &'static str) -> Asset {
    let digest = Sha256::digest(body);
    let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Asset { path: format!("/assets/{name}-{short}.{extension}"), kind, body }
}

#[cfg(test)]
mod tests {
    use super::{ICON, SCRIPT, STYLE, find};

    #[test]
    fn assets_are_found_by_the_path_of_their_content_only() {
        for asset in [&*STYLE, &*SCRIPT, &*ICON] {
            assert!(std::ptr::eq(find(&asset.path).expect("found"), asset));
        }
        assert!(find("/assets/style.css").is_none() && find("").is_none());
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere() {
        for asset in [&*STYLE, &*SCRIPT] {
            assert!(!asset.body.contains("://") && !asset.body.contains("@import"), "{}", asset.path);
        }
    }
}
