//! Go programs: the build information that the linker leaves in them (Go, `debug/buildinfo` and `runtime/debug.ParseBuildInfo`).

use super::component;
use crate::sbom::Component;

/// What the section starts with.
pub const MAGIC: &[u8] = b"\xff Go buildinf:";
/// Length of the section's header, behind which texts stand since Go 1.18.
pub const HEADER_BYTES: usize = 32;
/// The module list stands between two marks of this length.
const MARK_BYTES: usize = 16;

/// Where the version and the list of modules stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Behind the header, each with its length in front (Go 1.18 and later).
    Inline,
    /// At addresses of Go strings in the program's memory; of this size in bytes, and big-endian or not.
    Pointers {
        /// Size of a pointer: 4 or 8.
        size: usize,
        /// Byte order.
        big: bool,
    },
}

/// What form a section's header announces.
///
/// # Errors
/// Where it is none.
pub fn form(header: &[u8]) -> Result<Form, String> {
    let [size, flags] =
        header.get(14..16).and_then(|b| <[u8; 2]>::try_from(b).ok()).filter(|_| header.starts_with(MAGIC)).ok_or("it is none")?;
    if flags & 2 != 0 {
        return Ok(Form::Inline);
    }
    match size {
        4 | 8 => Ok(Form::Pointers { size: usize::from(size), big: flags & 1 != 0 }),
        _ => Err(format!("its pointers are of {size} bytes")),
    }
}

/// The two texts behind an inline header: the Go version and the list of modules. `None` where they are cut short.
#[must_use]
pub fn inline(section: &[u8]) -> Option<(&[u8], &[u8])> {
    let (version, rest) = counted(section.get(HEADER_BYTES..)?)?;
    Some((version, counted(rest)?.0))
}

/// A text with its length in front as an unsigned LEB128 number.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut len = 0_usize;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let rest = bytes.get(at + 1..)?;
            return Some((rest.get(..len)?, rest.get(len..)?));
        }
    }
    None
}

/// The modules of a program and Go's own library. The main module counts where its version is a released one, or the linker was told one
/// (`-ldflags "-X main.version=1.2.3"`, as releases are often built).
///
/// # Errors
/// Where the version of Go is none.
pub fn modules(version: &[u8], list: &[u8]) -> Result<(Vec<Component>, Vec<String>), String> {
    let (mut found, mut unknown) = (Vec::new(), Vec::new());
    let version = String::from_utf8_lossy(version);
    // `go1.21.3`, `go1.22.1 X:nocoverageredesign`, `devel go1.23-…`.
    let released =
        version.split_whitespace().find_map(|word| word.strip_prefix("go")).filter(|v| v.starts_with(|c: char| c.is_ascii_digit()));
    match released {
        Some(released) => found.push(component("golang", "", "stdlib", released.split('-').next().unwrap_or(released))?),
        None => unknown.push(format!("Go's own library: version `{}` is no released one", crate::text::printable(&version, 60))),
    }
    let end = list.len().saturating_sub(MARK_BYTES);
    let framed = list.len() > 2 * MARK_BYTES && list.get(end - 1) == Some(&b'\n');
    let text = String::from_utf8_lossy(if framed { &list[MARK_BYTES..end] } else { b"" }).into_owned();
    let mut last: Option<Result<Component, String>> = None;
    let mut own_source = None;
    for line in text.lines() {
        let mut words = line.split('\t');
        let (kind, path, version) = (words.next().unwrap_or_default(), words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if kind != "=>" {
            settle(last.take(), &mut found, &mut unknown);
        }
        match kind {
            "mod" if version.starts_with('v') => last = Some(module(path, version)),
            // `mod … (devel)` is the program's own source.
            "mod" => own_source = Some(path),
            "build" => {
                let told = path.strip_prefix("-ldflags=").zip(own_source).and_then(|(flags, module)| Some((module, told(flags, module)?)));
                last = told.map(|(path, version)| module(path, &version));
            }
            // What replaces a module is what is in the program.
            "dep" | "=>" => last = Some(module(path, version)),
            _ => {}
        }
    }
    settle(last, &mut found, &mut unknown);
    Ok((found, unknown))
}

/// The version that the linker was told to write into the program, where all that it was told agree: variables of the package `main` or of the
/// module itself that are called version.
fn told(flags: &str, module: &str) -> Option<String> {
    let mut versions = flags.split([' ', '"', '\'', '\\']).filter_map(|word| {
        let (variable, value) = word.trim_start_matches("-X=").split_once('=')?;
        let (package, name) = variable.rsplit_once('.')?;
        let is_own = package == "main" || package == module || package.strip_prefix(module).is_some_and(|rest| rest.starts_with('/'));
        let version = value.strip_prefix('v').unwrap_or(value);
        let is_released = version.starts_with(|c: char| c.is_ascii_digit()) && version.contains('.');
        (is_own && is_released && matches!(name.to_ascii_lowercase().as_str(), "version" | "ver")).then_some(version)
    });
    let first = versions.next()?;
    versions.all(|other| other == first).then(|| format!("v{first}"))
}

/// A module by its path; the whole path is its name.
fn module(path: &str, version: &str) -> Result<Component, String> {
    let name = crate::text::printable(path, 120);
    if path.starts_with(['.', '/']) {
        return Err(format!("module {name}: a directory stands in its place, so it is not assessed"));
    }
    component("golang", "", path, version).map_err(|why| format!("module {name}: {why}"))
}

fn settle(last: Option<Result<Component, String>>, found: &mut Vec<Component>, unknown: &mut Vec<String>) {
    match last {
        Some(Ok(component)) => found.push(component),
        Some(Err(why)) => unknown.push(why),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_replacements_and_the_library_are_told() {
        let list = "0123456789abcdefpath\tx.test/me\nmod\tx.test/me\t(devel)\t\ndep\tgolang.org/x/net\tv0.1.0\th1:=\ndep\tx.test/old\tv1.0.0\n=>\tx.test/new\tv1.2.0\th1:=\ndep\tx.test/l\tv1.0.0\n=>\t./here\t\t\nbuild\t-compiler=gc\n0123456789abcdef";
        let (found, unknown) = modules(b"go1.21.3 X:x", list.as_bytes()).unwrap();
        let names: Vec<String> = found.iter().map(|c| format!("{} {}", c.name, c.version)).collect();
        assert_eq!(names, ["stdlib 1.21.3", "golang.org/x/net v0.1.0", "x.test/new v1.2.0"]);
        assert_eq!(unknown.len(), 1, "{unknown:?}");
        assert_eq!(modules(b"devel +abc", b"").unwrap().1.len(), 1);
    }

    #[test]
    fn a_program_built_from_its_source_has_the_version_that_the_linker_was_told() {
        let with = |flags: &str| {
            let list = format!(
                "0123456789abcdefpath\tx.test/me\nmod\tx.test/me\t(devel)\t\ndep\tx.test/o\tv1.0.0\nbuild\t-ldflags={flags}\n0123456789abcdef"
            );
            let found = modules(b"go1.21.3", list.as_bytes()).unwrap().0;
            found.into_iter().find(|c| c.name == "x.test/me").map(|c| c.version)
        };
        assert_eq!(with(r#""-w -s -X main.version=1.18.1 -X main.date=2024.1""#).as_deref(), Some("v1.18.1"));
        assert_eq!(with(r#""-X 'x.test/me/internal/build.Version=v2.23.0+dfsg1'""#).as_deref(), Some("v2.23.0+dfsg1"));
        assert_eq!(with("-X=main.version=3.0").as_deref(), Some("v3.0"));
        assert_eq!(with(r#""-X main.version=1.1 -X x.test/me.Version=1.2""#), None, "which of the two is not known");
        assert_eq!(with(r#""-X x.test/other.Version=1.2 -X main.version=dev""#), None);
    }

    #[test]
    fn inline_texts_are_cut_by_their_lengths_and_bad_ones_refused() {
        let mut section = MAGIC.to_vec();
        section.extend([8, 2]);
        section.resize(HEADER_BYTES, 0);
        section.extend([6]);
        section.extend(b"go1.20");
        section.extend([0x80, 1]);
        section.extend([b'x'; 128]);
        assert_eq!(form(&section), Ok(Form::Inline));
        assert_eq!(inline(&section).map(|(v, m)| (v, m.len())), Some((b"go1.20".as_slice(), 128)));
        for end in 0..section.len() {
            assert!(inline(&section[..end]).is_none());
        }
        section[15] = 0;
        assert_eq!(form(&section), Ok(Form::Pointers { size: 8, big: false }));
        assert!(inline(&[0xff; 64]).is_none());
    }
}
