//! The embedded files in every coding in which they are served: compressed once a process, never for a request.

use super::slim::slim;
use brotli::enc::BrotliEncoderParams;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use rust_embed::Embed;
use sha2::{Digest as _, Sha256};
use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _, io::Write as _, sync::LazyLock};

/// 6 ms and 2 MB for the whole page. The best, 11, takes 90 ms to make it a tenth smaller.
const BROTLI_QUALITY: i32 = 5;
/// 256 kB: more than a file of the page has.
const BROTLI_WINDOW_BITS: i32 = 18;

#[derive(Embed)]
#[folder = "static"]
struct Static;

/// Made at the first use.
pub static FILES: LazyLock<Files> = LazyLock::new(Files::read);

pub struct Files {
    /// One for all, so that modules can import each other by plain names.
    pub hash: String,
    /// Names the hash, and so is not among the assets.
    pub index: File,
    pub assets: BTreeMap<String, File>,
}

pub struct File {
    pub media_type: &'static str,
    pub plain: Bytes,
    pub brotli: Bytes,
    pub gzip: Bytes,
}

impl Files {
    fn read() -> Self {
        let files = Static::iter().filter_map(|name| {
            let bytes = match Static::get(&name)?.data {
                Cow::Borrowed(bytes) => Bytes::from_static(bytes),
                Cow::Owned(bytes) => bytes.into(),
            };
            let bytes = match std::str::from_utf8(&bytes) {
                Ok(text) => slim(&name, text).into(),
                Err(_) => bytes,
            };
            Some((name.into_owned(), bytes))
        });
        let mut files: BTreeMap<_, _> = files.collect();
        let mut all = Sha256::new();
        for (name, bytes) in &files {
            all.update(name);
            all.update(Sha256::digest(bytes));
        }
        let mut hash = String::new();
        for byte in all.finalize().iter().take(5) {
            let _ = write!(hash, "{byte:02x}");
        }
        let index = files.remove("index.html").unwrap_or_default();
        let index =
            String::from_utf8_lossy(&index).replace("{{assets}}", &format!("/assets/{hash}"));
        let asset = |(name, bytes): (String, Bytes)| {
            let file = File::new(&name, bytes);
            (name, file)
        };
        Self {
            hash,
            index: File::new("index.html", index.into()),
            assets: files.into_iter().map(asset).collect(),
        }
    }
}

impl File {
    fn new(name: &str, plain: Bytes) -> Self {
        Self {
            media_type: media_type(name),
            brotli: brotli(&plain),
            gzip: gzip(&plain),
            plain,
        }
    }
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.') {
        Some((_, "html")) => "text/html; charset=utf-8",
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

fn brotli(plain: &[u8]) -> Bytes {
    let how = BrotliEncoderParams {
        quality: BROTLI_QUALITY,
        lgwin: BROTLI_WINDOW_BITS,
        size_hint: plain.len(),
        ..BrotliEncoderParams::default()
    };
    let mut compressed = Vec::new();
    brotli::BrotliCompress(&mut &*plain, &mut compressed, &how).expect("memory takes all bytes");
    compressed.into()
}

fn gzip(plain: &[u8]) -> Bytes {
    let mut compressed = GzEncoder::new(Vec::new(), Compression::best());
    let written = compressed.write_all(plain);
    let written = written.and_then(|()| compressed.finish());
    written.expect("memory takes all bytes").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of everything in `static` as it is served, before compression.
    const PAGE_BYTES: usize = 120_000;

    #[test]
    fn the_whole_page_stays_small() {
        let files: Vec<_> = FILES.assets.values().chain([&FILES.index]).collect();
        assert_eq!(files.len(), Static::iter().count());
        let sum = |size: fn(&File) -> usize| files.iter().map(|file| size(file)).sum::<usize>();
        let plain = sum(|file| file.plain.len());
        let (brotli, gzip) = (sum(|file| file.brotli.len()), sum(|file| file.gzip.len()));
        println!(
            "{} files: {plain} bytes, brotli {brotli}, gzip {gzip}",
            files.len()
        );
        assert!(plain < PAGE_BYTES, "{plain}");
        assert!(
            brotli < gzip && gzip < plain / 2,
            "{brotli}, {gzip} of {plain}"
        );
    }

    #[test]
    fn every_file_has_a_media_type() {
        for (name, file) in &FILES.assets {
            assert_ne!(file.media_type, "application/octet-stream", "{name}");
        }
    }
}
