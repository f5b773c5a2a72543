//! An image in one file that is a tar, packed or not: an archive of layers, or a root itself.

use super::{About, archive, layers, store::Store, tree::Tree};
use fother_core::image::Image;
use std::{fs::File, io::Seek as _, path::Path};

/// Reads it; `work` takes the unpacked archive where the whole is packed.
pub fn read(path: &Path, platform: Option<&str>, work: &Path, tree: &mut Tree) -> Result<About, String> {
    let failed = |error: std::io::Error| error.to_string();
    let first = first_name(&File::open(path).map_err(failed)?)?;
    let file = File::open(path).map_err(failed)?;
    // `docker save` and OCI layouts hold few files, with these names among them; a root has none of them at its top.
    if !is_archive(&first) && !Store::archive(file.try_clone().map_err(failed)?).is_ok_and(|store| store.is_image()) {
        return root(file, tree);
    }
    let plain = work.join("archive");
    let mut out = File::options().read(true).write(true).create_new(true).open(&plain).map_err(failed)?;
    let mut file = file;
    file.rewind().map_err(failed)?;
    let store = match layers::unpacked(&file, &mut out)? {
        Some(_) => {
            out.rewind().map_err(failed)?;
            Store::archive(out)?
        }
        None => {
            file.rewind().map_err(failed)?;
            Store::archive(file)?
        }
    };
    match (store.is_image(), is_archive(&first)) {
        (true, _) => archive::read(&store, platform, tree),
        (false, true) => Err("it begins as an archive of layers, but has neither manifest.json nor index.json: it is cut short".into()),
        (false, false) => root(File::open(path).map_err(failed)?, tree),
    }
}

/// The name of the first member, packed or not.
fn first_name(file: &File) -> Result<String, String> {
    let mut head = std::io::BufReader::new(file);
    let kind = fother_feeds::vendor::input::packing(std::io::BufRead::fill_buf(&mut head).map_err(|error| error.to_string())?);
    let mut archive = tar::Archive::new(kind.reader(head).map_err(|error| error.to_string())?);
    let no = |why: &str| format!("it is no tar, no OCI layout and no disk with a file system that is read here ({why})");
    let mut entries = archive.entries().map_err(|error| no(&error.to_string()))?;
    let entry = entries.next().ok_or_else(|| no("it is empty"))?.map_err(|error| no(&error.to_string()))?;
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    Ok(name.trim_start_matches("./").to_owned())
}

/// Whether the first member's name is one that only archives of layers have.
fn is_archive(first: &str) -> bool {
    let hex = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let top = first.split('/').next().unwrap_or_default();
    matches!(top, "blobs" | "oci-layout" | "index.json" | "manifest.json" | "repositories") || hex(top.trim_end_matches(".json"))
}

/// A root as a tar of its own.
fn root(mut file: File, tree: &mut Tree) -> Result<About, String> {
    file.rewind().map_err(|error| error.to_string())?;
    let digest = layers::apply(tree, &file, layers::Expected::WHOLE, &mut layers::budget())?;
    Ok(About { image: Image { form: "root-tar".into(), digest: digest.to_string(), ..Image::default() }, ..About::default() })
}
