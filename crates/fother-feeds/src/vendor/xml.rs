//! XML read piece by piece (quick-xml), with every size bounded; a document type and entities of its own are refused, so nothing expands.

use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event},
};
use std::{
    cell::Cell,
    io::{self, BufRead, Read},
    rc::Rc,
};

/// Largest tag, text or comment, in bytes.
pub const PIECE_BYTES_MAX: usize = 4 << 20;
/// Deepest nesting.
pub const DEPTH_MAX: usize = 64;
/// Most bytes of one element's text that are kept.
pub const TEXT_BYTES_MAX: usize = 16 << 10;

/// A reader that fails where one piece is too long.
struct Metered<R> {
    inner: R,
    left: Rc<Cell<usize>>,
}

impl<R: BufRead> Read for Metered<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(out)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Metered<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left.get() == 0 {
            return Err(io::Error::other(format!("one piece of it is longer than {PIECE_BYTES_MAX} bytes")));
        }
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.left.set(self.left.get().saturating_sub(count));
        self.inner.consume(count);
    }
}

/// A start tag.
pub struct Tag<'x>(&'x BytesStart<'x>);

impl Tag<'_> {
    /// An attribute's value; empty where there is none.
    ///
    /// # Errors
    /// Where the tag is malformed or the value names an entity that XML does not have.
    pub fn attribute(&self, name: &str) -> Result<String, String> {
        let mut found = String::new();
        // All are looked at: one that stands there twice is refused.
        for attribute in self.0.attributes() {
            let attribute = attribute.map_err(|error| format!("malformed XML: {error}"))?;
            if attribute.key.as_ref() == name {
                let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|error| format!("malformed XML: {error}"))?;
                found = value.into_owned();
            }
        }
        Ok(found)
    }
}

/// What takes an XML document's pieces; names are local, without prefixes.
pub trait Handler {
    /// An element starts.
    ///
    /// # Errors
    /// Ends the reading.
    fn open(&mut self, path: &[String], name: &str, tag: &Tag<'_>) -> Result<(), String>;

    /// An element ends; `text` is its own text, trimmed, and cut at [`TEXT_BYTES_MAX`].
    ///
    /// # Errors
    /// Ends the reading.
    fn close(&mut self, path: &[String], name: &str, text: &str) -> Result<(), String>;
}

/// Reads a document. `path` holds the elements around the one that starts or ends.
///
/// # Errors
/// Where it is malformed, cut short or too large, or the handler fails.
pub fn read(input: impl BufRead, handler: &mut impl Handler) -> Result<(), String> {
    let left = Rc::new(Cell::new(PIECE_BYTES_MAX));
    let mut reader = Reader::from_reader(Metered { inner: input, left: Rc::clone(&left) });
    let (mut buffer, mut path, mut texts): (Vec<u8>, Vec<String>, Vec<String>) = (Vec::new(), Vec::new(), Vec::new());
    let mut started = false;
    loop {
        buffer.clear();
        left.set(PIECE_BYTES_MAX);
        let event = reader.read_event_into(&mut buffer).map_err(|error| format!("malformed XML: {error}"))?;
        match event {
            Event::Start(start) => {
                let name = start.local_name().as_ref().to_owned();
                handler.open(&path, &name, &Tag(&start))?;
                if path.len() >= DEPTH_MAX {
                    return Err(format!("it is nested deeper than {DEPTH_MAX}"));
                }
                path.push(name);
                texts.push(String::new());
                started = true;
            }
            Event::Empty(start) => {
                let name = start.local_name().as_ref().to_owned();
                handler.open(&path, &name, &Tag(&start))?;
                handler.close(&path, &name, "")?;
                started = true;
            }
            Event::End(_) => {
                let (Some(name), Some(text)) = (path.pop(), texts.pop()) else {
                    return Err("malformed XML: an end without a start".into());
                };
                handler.close(&path, &name, text.trim())?;
            }
            Event::Text(text) => append(&mut texts, &text.xml10_content()),
            Event::CData(text) => append(&mut texts, &text.xml10_content()),
            Event::GeneralRef(name) => append(&mut texts, &resolved(&name)?),
            Event::DocType(_) => return Err("it has a document type, which no feed has".into()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof if path.is_empty() && started => return Ok(()),
            Event::Eof => return Err("malformed XML: it is cut short".into()),
        }
    }
}

fn append(texts: &mut [String], more: &str) {
    if let Some(text) = texts.last_mut()
        && text.len() + more.len() <= TEXT_BYTES_MAX
    {
        text.push_str(more);
    }
}

/// The five entities of XML itself and numbers; others would have to be declared.
fn resolved(name: &quick_xml::events::BytesRef<'_>) -> Result<String, String> {
    if let Some(c) = name.resolve_char_ref().map_err(|error| format!("malformed XML: {error}"))? {
        return Ok(c.to_string());
    }
    let name = name.xml10_content();
    let known = quick_xml::escape::resolve_predefined_entity(&name);
    known.map(str::to_owned).ok_or_else(|| format!("entity `{}` is not one of XML's", fother_core::text::printable(&name, 40)))
}
