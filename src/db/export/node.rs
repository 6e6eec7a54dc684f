// SPDX-License-Identifier: GPL-2.0-or-later

//! YAML as a stream of texts and marks, each with its line.
//!
//! What the format has no use for ends here: anchors, aliases, merge keys, tags, a second document.
//! So does what has no quotes and means "no value"; every other text without quotes is the text
//! that is written.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bstr::{BString, ByteSlice};
use serde_saphyr::granit_parser::{Event, Options, Parser, ScalarStyle, StrInput, Tag, options};

use super::{Error, Fault, Place};

/// The tags of YAML's own types.
const CORE: &str = "tag:yaml.org,2002:";

/// Deeper than the format, so that a fault of the nesting is told at its place.
const MAX_DEPTH: usize = 16;

/// A piece of the text that the format has a use for.
pub(super) enum Node<'text> {
    Text(Cow<'text, str>, Form),
    Mark(Mark),
}

/// Where something begins or ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Document,
    List,
    ListEnd,
    Mapping,
    MappingEnd,
    End,
}

/// How a text is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    Quoted,
    Binary,
}

impl Node<'_> {
    pub(super) fn is(&self, wanted: Mark) -> bool {
        matches!(self, Self::Mark(mark) if *mark == wanted)
    }

    /// What stands here and means "no value".
    pub(super) fn null(&self) -> Option<&str> {
        match self {
            Self::Text(text, Form::Plain) => {
                matches!(text.as_ref(), "" | "~" | "null" | "Null" | "NULL").then_some(text)
            }
            Self::Text(_, Form::Quoted | Form::Binary) | Self::Mark(_) => None,
        }
    }

    fn noun(&self) -> &'static str {
        match self {
            Self::Text(..) if self.null().is_some() => "nothing",
            Self::Text(..) => "a text",
            Self::Mark(Mark::List | Mark::ListEnd) => "a list",
            Self::Mark(Mark::Mapping | Mark::MappingEnd) => "a mapping",
            Self::Mark(Mark::Document | Mark::End) => "the end",
        }
    }
}

/// Takes the pieces one by one and knows where it is.
pub(super) struct Reader<'text> {
    events: Parser<'text, StrInput<'text>>,
    /// The line of the piece taken last.
    pub(super) line: usize,
    /// What a fault is about.
    pub(super) place: Place,
}

impl<'text> Reader<'text> {
    /// Looks at the encoding only.
    pub(super) fn new(text: &'text [u8]) -> Result<Self, Error> {
        let fault = |line, source| Error::Line { line, place: Box::default(), source };
        if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") {
            return Err(fault(1, Fault::Utf16));
        }
        let text = str::from_utf8(text).map_err(|error| {
            let good = text.get(..error.valid_up_to()).unwrap_or_default();
            fault(1 + good.find_iter("\n").count(), Fault::NotUtf8)
        })?;
        let events = Parser::new_from_str_with_options(text, parser_options());
        Ok(Self { events, line: 1, place: Place::default() })
    }

    /// Takes what has to come next, the beginning of a list or a mapping.
    pub(super) fn open(
        &mut self,
        mark: Mark,
        what: &'static str,
        wanted: &'static str,
    ) -> Result<(), Error> {
        let node = self.next()?;
        self.opened(&node, mark, what, wanted)
    }

    /// The same for a piece that is taken already.
    pub(super) fn opened(
        &self,
        node: &Node<'_>,
        mark: Mark,
        what: &'static str,
        wanted: &'static str,
    ) -> Result<(), Error> {
        let found = node.noun();
        if node.is(mark) { Ok(()) } else { Err(self.fault(Fault::Shape { what, wanted, found })) }
    }

    /// The next key of the mapping that is open; `None` at its end.
    pub(super) fn key(&mut self, what: &'static str) -> Result<Option<BString>, Error> {
        let node = self.next()?;
        if node.is(Mark::MappingEnd) {
            return Ok(None);
        }
        if matches!(&node, Node::Text(text, Form::Plain) if text == "<<") {
            return Err(self.fault(Fault::MergeKey));
        }
        self.content(node, what).map(Some)
    }

    /// The text that comes next.
    pub(super) fn text(&mut self, what: &'static str) -> Result<BString, Error> {
        let node = self.next()?;
        self.content(node, what)
    }

    fn content(&self, node: Node<'_>, what: &'static str) -> Result<BString, Error> {
        if let Some(written) = node.null() {
            return Err(self.fault(Fault::Null { what, written: written.to_owned() }));
        }
        let found = node.noun();
        match node {
            Node::Text(text, Form::Binary) => {
                let is_digit = |byte: &u8| !byte.is_ascii_whitespace();
                let digits: Vec<u8> = text.bytes().filter(is_digit).collect();
                let bytes = STANDARD.decode(digits);
                bytes.map(BString::from).map_err(|_| self.fault(Fault::Base64 { what }))
            }
            Node::Text(text, Form::Plain | Form::Quoted) => Ok(text.into_owned().into()),
            Node::Mark(_) => Err(self.fault(Fault::Shape { what, wanted: "a text", found })),
        }
    }

    /// The next piece.
    pub(super) fn next(&mut self) -> Result<Node<'text>, Error> {
        loop {
            let (event, span) = match self.events.next() {
                Some(Ok(event)) => event,
                None => return Ok(Node::Mark(Mark::End)),
                Some(Err(error)) => {
                    let line = error.marker().line().max(1);
                    return Err(self.fault_at(line, Fault::Syntax { what: error.info() }));
                }
            };
            self.line = span.start.line();
            match self.meaning(event)? {
                // The parser says '~' also where nothing stands.
                Some(Node::Text(_, Form::Plain)) if span.is_empty() => {
                    return Ok(Node::Text("".into(), Form::Plain));
                }
                Some(node) => return Ok(node),
                None => {}
            }
        }
    }

    fn meaning(&self, event: Event<'text>) -> Result<Option<Node<'text>>, Error> {
        let mark = match event {
            Event::StreamStart | Event::DocumentEnd | Event::Anchor(..) => return Ok(None),
            Event::DocumentStart(..) => Mark::Document,
            Event::StreamEnd => Mark::End,
            Event::SequenceEnd => Mark::ListEnd,
            Event::MappingEnd => Mark::MappingEnd,
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_extras(anchor, tag.as_deref())?;
                Mark::List
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_extras(anchor, tag.as_deref())?;
                Mark::Mapping
            }
            Event::Scalar(text, style, anchor, tag) => {
                let form = match tag.as_deref() {
                    None if style == ScalarStyle::Plain => Form::Plain,
                    Some(tag) if is_core(tag, "binary") => Form::Binary,
                    None | Some(_) => Form::Quoted,
                };
                let extra = tag.as_deref().filter(|tag| !is_core(tag, "str"));
                self.refuse_extras(anchor, extra.filter(|tag| !is_core(tag, "binary")))?;
                return Ok(Some(Node::Text(text, form)));
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => return Err(self.fault(Fault::Alias)),
            // A later parser may know more; what is not understood is refused.
            _ => {
                let what = "this version does not know what stands here".to_owned();
                return Err(self.fault(Fault::Syntax { what }));
            }
        };
        Ok(Some(Node::Mark(mark)))
    }

    fn refuse_extras(&self, anchor: usize, tag: Option<&Tag>) -> Result<(), Error> {
        if anchor != 0 {
            return Err(self.fault(Fault::Anchor));
        }
        let Some(tag) = tag else { return Ok(()) };
        let tag = format!("{}{}", tag.original_handle(), tag.suffix());
        Err(self.fault(Fault::Tag { tag }))
    }

    /// A fault of the piece taken last.
    pub(super) fn fault(&self, fault: Fault) -> Error {
        self.fault_at(self.line, fault)
    }

    /// A fault of an earlier line.
    pub(super) fn fault_at(&self, line: usize, source: Fault) -> Error {
        Error::Line { line, place: Box::new(self.place.clone()), source }
    }
}

fn parser_options() -> Options {
    options! {
        // Both kinds of alias are one fault to us.
        emit_unresolved_aliases: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    }
}

fn is_core(tag: &Tag, suffix: &str) -> bool {
    tag.handle() == CORE && tag.suffix() == suffix
}
