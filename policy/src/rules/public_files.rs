//! The Control UI's public files, for which rule 10 does not ask the origin: the Gateway does not either.
//!
//! A browser sends Origin with the page's own scripts, style sheets and fonts. If these were refused, a page whose
//! address is missing in `allowedOrigins` would stay blank, instead of showing the Control UI's card about that.

use crate::request::Request;

/// The folders of files that the Gateway 2026.9.6 serves with its Control UI (`dist/control-ui` in its package).
const FOLDERS: [&[u8]; 8] = [
    b"app-art",
    b"assets",
    b"cloud-provider-icons",
    b"community-art",
    b"file-icons",
    b"fonts",
    b"provider-icons",
    b"themes",
];

/// The files next to its page (`CONTROL_UI_ROOT_PUBLIC_ASSETS` in `src/gateway/control-ui-root-assets.ts`).
const FILES: [&[u8]; 6] =
    [b"apple-touch-icon.png", b"favicon-32.png", b"favicon.ico", b"favicon.svg", b"manifest.webmanifest", b"sw.js"];

/// The extensions of static files (`isControlUiStaticAssetExtension` in `src/gateway/control-ui-static.ts`). For such a
/// path the Gateway serves the file or answers 404, and never the page.
const EXTENSIONS: [&[u8]; 15] = [
    b"css",
    b"gif",
    b"ico",
    b"jpeg",
    b"jpg",
    b"js",
    b"json",
    b"map",
    b"png",
    b"svg",
    b"txt",
    b"wasm",
    b"webmanifest",
    b"webp",
    b"woff2",
];

/// The first segments below which the Gateway has routes that it serves before its Control UI.
const TAKEN: [&str; 7] = ["__openclaw", "__openclaw__", "api", "j", "sessions", "tools", "v1"];

/// The public files of a Control UI.
#[derive(Debug, Clone)]
pub struct PublicFiles {
    /// `controlUi.basePath`: empty at the root, otherwise with a slash before it and none after it.
    base: Box<[u8]>,
}

impl PublicFiles {
    /// The public files below a base path. `None` if the Gateway could serve something else there.
    pub(crate) fn below(base: &str) -> Option<Self> {
        let first = base.split('/').nth(1).unwrap_or_default();
        (!TAKEN.contains(&first)).then(|| Self { base: base.as_bytes().into() })
    }

    /// Whether the Gateway answers this request without asking who sends it.
    pub(crate) fn cover(&self, request: &Request<'_>) -> bool {
        !request.is_upgrade()
            && matches!(request.method(), b"GET" | b"HEAD")
            && request.plain_path.is_some_and(|path| self.contains(path))
    }

    /// Whether a plain path is that of a public file.
    fn contains(&self, plain: &[u8]) -> bool {
        let Some(path) = plain.strip_prefix(&*self.base).and_then(|rest| rest.strip_prefix(b"/")) else { return false };
        let mut segments = path.rsplitn(2, |&byte| byte == b'/');
        let (name, folder) = (segments.next().unwrap_or_default(), segments.next());
        let Some(folder) = folder else { return FILES.contains(&name) };
        let first = folder.split(|&byte| byte == b'/').next().unwrap_or_default();
        FOLDERS.contains(&first) && is_static(name)
    }
}

/// Whether a file's name has one of the extensions, and something before it.
fn is_static(name: &[u8]) -> bool {
    let mut parts = name.rsplitn(2, |&byte| byte == b'.');
    let extension = parts.next().unwrap_or_default();
    EXTENSIONS.contains(&extension) && parts.next().is_some_and(|stem| !stem.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_files_are_those_of_the_folders_with_an_extension_of_static_files() {
        for (base, path, expected) in [
            ("", "/assets/index-DsEuFQRE.js", true),
            ("", "/assets/a/b.css", true),
            ("", "/file-icons/compact/light/x.svg", true),
            ("", "/fonts/inter.woff2", true),
            ("", "/manifest.webmanifest", true),
            ("", "/favicon.ico", true),
            ("", "/", false),
            ("", "/index.html", false),
            ("", "/assets", false),
            ("", "/assets/", false),
            ("", "/assets/index", false),
            ("", "/assets/index.html", false),
            ("", "/assets/index.js.br", false),
            ("", "/assets/.js", false),
            ("", "/assets/x.js/", false),
            ("", "/assets/x.js/y", false),
            ("", "/assets/x.JS", false),
            ("", "/Assets/x.js", false),
            ("", "/x/assets/x.js", false),
            ("", "/assetsx/x.js", false),
            ("", "/plugin/x.js", false),
            ("", "/x.js", false),
            ("", "/sw.js/", false),
            ("", "/sw.jsx", false),
            ("", "/control-ui-config.json", false),
            ("", "/avatar/x.png", false),
            ("/ui", "/ui/assets/x.js", true),
            ("/ui", "/ui/sw.js", true),
            ("/ui", "/assets/x.js", false),
            ("/ui", "/sw.js", false),
            ("/ui", "/uiassets/x.js", false),
            ("/ui", "/ui", false),
            ("/a/b", "/a/b/themes/x.css", true),
            ("/a/b", "/a/themes/x.css", false),
        ] {
            let seen = PublicFiles::below(base).is_some_and(|files| files.contains(path.as_bytes()));
            assert_eq!(seen, expected, "{path} below {base:?}");
        }
        for base in ["/v1", "/v1/models", "/api/users", "/sessions/x", "/__openclaw__"] {
            assert!(PublicFiles::below(base).is_none(), "{base}");
        }
        assert!(PublicFiles::below("/apis").is_some());
    }
}
