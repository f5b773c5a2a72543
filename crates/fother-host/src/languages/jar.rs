//! Java archives, archives in them up to a depth, and Python eggs: zips of which only the named files are unpacked.

use super::{
    one,
    walk::{Harvest, Place},
};
use fother_core::{
    advisory::Bytes,
    languages::{java, python},
    sbom::Component,
    text::printable,
};
use fother_feeds::vendor::zip::Zip;

/// Largest archive in an archive, in bytes.
const INNER_BYTES_MAX: usize = 64 << 20;
/// Largest manifest or file of coordinates, in bytes.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// Most bytes that come out of one archive, all depths together.
const UNPACKED_BYTES_MAX: usize = 512 << 20;
/// Archives in archives in archives.
const DEPTH_MAX: usize = 3;
const SHOWN_CHARS_MAX: usize = 600;

/// Reads an archive that stands in the root.
///
/// # Errors
/// Where it is damaged.
pub fn read(place: &Place<'_>, out: &mut Harvest) -> Result<(), String> {
    let zip = Zip::open(place.open()?)?;
    let mut left = UNPACKED_BYTES_MAX;
    archive(&zip, &place.shown(), 0, &mut left, out)
}

/// Reads a Python egg that is a zip.
///
/// # Errors
/// Where it is damaged or has no metadata.
pub fn egg(place: &Place<'_>, out: &mut Harvest) -> Result<(), String> {
    let mut found = None;
    Zip::open(place.open()?)?.each_of(
        |name| (name == "EGG-INFO/PKG-INFO").then_some(TEXT_BYTES_MAX),
        |_, bytes| {
            found = Some(python::metadata(&String::from_utf8_lossy(bytes)));
            Ok(false)
        },
    )?;
    one(place, out, found.unwrap_or_else(|| Err("it holds no metadata".into())))
}

fn is_archive(name: &str) -> bool {
    [".jar", ".war", ".ear", ".par"].iter().any(|end| name.ends_with(end))
}

fn is_coordinates(name: &str) -> bool {
    name.starts_with("META-INF/maven/") && name.ends_with("/pom.properties")
}

fn archive(zip: &Zip<impl Bytes>, shown: &str, depth: usize, left: &mut usize, out: &mut Harvest) -> Result<(), String> {
    let (mut manifest, mut found, mut inner) = (String::new(), 0, 0);
    let mut too_deep = false;
    let wanted = |name: &str| {
        let text = (name == "META-INF/MANIFEST.MF" || is_coordinates(name)).then_some(TEXT_BYTES_MAX);
        text.or_else(|| is_archive(name).then_some(INNER_BYTES_MAX))
    };
    zip.each_of(wanted, |name, bytes| {
        *left = left.checked_sub(bytes.len()).ok_or(format!("it unpacks to more than {UNPACKED_BYTES_MAX} bytes"))?;
        let inside = || printable(&format!("{shown}!{name}"), SHOWN_CHARS_MAX);
        if is_archive(name) {
            inner += 1;
            too_deep |= depth == DEPTH_MAX;
            if depth < DEPTH_MAX {
                // One broken archive in an archive does not hide the others.
                if let Err(why) = Zip::over(bytes).and_then(|zip| archive(&zip, &inside(), depth + 1, left, out)) {
                    out.unknown(format!("{}: {why}", inside()));
                }
            }
        } else if is_coordinates(name) {
            match java::properties(&String::from_utf8_lossy(bytes)) {
                Ok(component) => {
                    found += 1;
                    out.component(Component { place: shown.to_owned(), ..component });
                }
                Err(why) => out.unknown(format!("{}: {why}", inside())),
            }
        } else {
            manifest = String::from_utf8_lossy(bytes).into_owned();
        }
        Ok(true)
    })?;
    if too_deep {
        out.unknown(format!("{shown}: archives in it are nested deeper than {DEPTH_MAX}; they were not read"));
    }
    if found == 0 && inner == 0 {
        out.unknown(format!("{shown}: it names no Maven coordinates ({}), so it is not assessed", java::description(shown, &manifest)));
    }
    Ok(())
}
