//! Forms: types that are read from YAML and that describe themselves as JSON Schema.
//!
//! ```text
//!   form! { resource Network { "mtu" mtu: Option<Mtu>, … } }
//!        |-> struct Network { mtu: Option<Mtu>, … }      what the rest of the crate works with
//!        |-> Form::read    keys, types, formats; every error of the file, not the first only
//!        `-> Form::schema  the same keys, types and formats for editors
//! ```
//!
//! A key is written once, so the parser and the schema cannot come to differ.

use crate::diagnostic::{Diagnostic, Source, Span, closest, shorten};
use crate::node::{Entry, Kind, Node, Value};
use serde_json::{Map, json};
use tombolo_model::Refusal;

/// Errors that are collected from one file before reading on is no use.
pub(crate) const MAX_ERRORS: usize = 100;

/// The definitions of a schema, by name.
pub(crate) type Defs = Map<String, serde_json::Value>;

/// A type with a form in the file.
pub(crate) trait Form: Sized {
    /// Whether a key of this type must be there.
    const REQUIRED: bool = true;

    /// Reads it; where it is malformed, the errors are in the reader.
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self>;

    /// What it is when its key is not there.
    fn absent() -> Option<Self> {
        None
    }

    /// Its JSON Schema; what has a name goes to `defs`.
    fn schema(defs: &mut Defs) -> serde_json::Value;
}

impl<T: Form> Form for Option<T> {
    const REQUIRED: bool = false;

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        T::read(node, reader).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn schema(defs: &mut Defs) -> serde_json::Value {
        T::schema(defs)
    }
}

impl<T: Form> Form for Vec<T> {
    const REQUIRED: bool = false;

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else {
            return reader.mistyped(node, "a list");
        };
        let read = |(i, item)| match reader.full() {
            true => None,
            false => reader.within(&format!("[{i}]"), |reader| T::read(item, reader)),
        };
        let read: Vec<Option<T>> = items.iter().enumerate().map(read).collect();
        read.into_iter().collect()
    }

    fn absent() -> Option<Self> {
        Some(Vec::new())
    }

    fn schema(defs: &mut Defs) -> serde_json::Value {
        json!({"type": "array", "items": T::schema(defs)})
    }
}

/// A mapping with known keys; implemented by [`form!`].
pub(crate) trait Object: Form {
    /// Its name in the schema.
    const NAME: &'static str;
    /// Whether it is a resource of its own: messages then name fields from here (`resource.mtu`).
    const RESOURCE: bool;
    /// Its keys.
    const KEYS: &'static [&'static str];
    /// Keys of which exactly one must be there.
    const EXACTLY_ONE: &'static [&'static str];
}

/// Where reading is, and what was found wrong so far.
pub(crate) struct Reader<'s> {
    source: &'s Source,
    path: String,
    /// How much of `path` leads to the resource, inside one.
    resource: Option<usize>,
    errors: Vec<Diagnostic>,
}

impl<'s> Reader<'s> {
    /// Reads a file's root.
    pub(crate) fn root<T: Form>(source: &'s Source, node: &Node) -> Result<T, Vec<Diagnostic>> {
        let mut reader = Reader { source, path: String::new(), resource: None, errors: Vec::new() };
        match T::read(node, &mut reader) {
            Some(value) if reader.errors.is_empty() => Ok(value),
            _ => Err(reader.errors),
        }
    }

    /// Whether there are as many errors as are shown, so that looking for more is no use.
    fn full(&self) -> bool {
        self.errors.len() >= MAX_ERRORS
    }

    /// Does something one step further down.
    fn within<T>(&mut self, step: &str, act: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        if !step.starts_with('[') && !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(step);
        let result = act(self);
        self.path.truncate(length);
        result
    }

    /// Notes an error at the current path. Returns `None`, which is what there is to return then.
    pub(crate) fn error<T>(&mut self, span: Span, message: impl Into<String>) -> Option<T> {
        if !self.full() {
            self.errors.push(self.source.diagnostic(span, &self.path, message));
        }
        None
    }

    /// Notes that the value has the wrong type.
    pub(crate) fn mistyped<T>(&mut self, node: &Node, expected: &str) -> Option<T> {
        let text = shorten(node.text().unwrap_or_default());
        let found = match node.kind() {
            Kind::Nothing => "nothing".to_owned(),
            Kind::Boolean => format!("the boolean {text}"),
            Kind::Integer | Kind::Number => format!("the number {text}"),
            Kind::String => format!("the string '{text}'"),
            Kind::List if node.items().is_empty() => "an empty list".to_owned(),
            Kind::List => "a list".to_owned(),
            Kind::Mapping => "a mapping".to_owned(),
        };
        self.error(node.span, format!("expected {expected}, found {found}"))
    }

    /// Notes that the value cannot be accepted, in the words of Google's API.
    pub(crate) fn invalid<T>(&mut self, node: &Node, expected: impl ToString) -> Option<T> {
        let value = shorten(node.text().unwrap_or_default());
        let message = match self.resource {
            None => format!("'{value}' is not accepted. {}", expected.to_string()),
            Some(start) => {
                let field = self.path[start..].trim_start_matches('.');
                Refusal::invalid(field, value, expected).to_string()
            }
        };
        self.error(node.span, message)
    }

    /// Reads a mapping: `read` asks for its keys one by one; the unknown, missing and exclusive are told here.
    pub(crate) fn object<T: Object>(
        &mut self,
        node: &Node,
        read: impl FnOnce(&mut Fields<'_, '_, 's>) -> Option<T>,
    ) -> Option<T> {
        let Value::Map(entries) = &node.value else {
            return self.mistyped(node, &format!("a mapping with the keys {}", T::KEYS.join(", ")));
        };
        let outer = self.resource;
        if T::RESOURCE {
            self.resource = Some(self.path.len());
        }
        for entry in entries.iter().filter(|e| !T::KEYS.contains(&&*e.key)) {
            if self.full() {
                break;
            }
            self.unknown_key(entry, T::KEYS);
        }
        let exclusive = self.exactly_one(node, entries, T::EXACTLY_ONE);
        let result = read(&mut Fields { node, entries, reader: self });
        self.resource = outer;
        exclusive.and(result)
    }

    /// Notes a key that the form does not have.
    fn unknown_key(&mut self, entry: &Entry, known: &[&str]) {
        let key = shorten(&entry.key);
        let meant = closest(&entry.key, known.iter().copied());
        let hint = meant.map(|k| format!(": did you mean '{k}'?")).unwrap_or_else(|| ".".to_owned());
        let message = format!("unknown key '{key}'{hint} The keys here are {}.", known.join(", "));
        self.within(&key, |reader| reader.error::<()>(entry.span, message));
    }

    /// Checks that exactly one of these keys is there, if any are named.
    fn exactly_one(&mut self, node: &Node, entries: &[Entry], keys: &[&str]) -> Option<()> {
        let given: Vec<&Entry<'_>> = entries.iter().filter(|e| keys.contains(&&*e.key)).collect();
        match given.as_slice() {
            [] if !keys.is_empty() => {
                self.error(node.span, format!("missing one of the keys {}", keys.join(", ")))
            }
            [first, second, ..] => {
                let message = format!("'{}' cannot be given together with '{}'", second.key, first.key);
                self.within(&second.key, |reader| reader.error(second.span, message))
            }
            _ => Some(()),
        }
    }
}

/// The keys of a mapping that is being read.
pub(crate) struct Fields<'n, 'r, 's> {
    node: &'n Node<'n>,
    entries: &'n [Entry<'n>],
    reader: &'r mut Reader<'s>,
}

impl Fields<'_, '_, '_> {
    /// The value of a key, or of its absence.
    pub(crate) fn key<T: Form>(&mut self, key: &str) -> Option<T> {
        match self.entries.iter().find(|e| e.key == key) {
            Some(entry) => self.reader.within(key, |reader| T::read(&entry.value, reader)),
            None if T::REQUIRED => self.reader.error(self.node.span, format!("missing key '{key}'")),
            None => T::absent(),
        }
    }
}

/// A property of an object's schema: a key, whether it must be there, its schema and its documentation.
pub(crate) type Property = (&'static str, bool, serde_json::Value, String);

/// The schema of an object, put to `defs`; returns the reference to it.
pub(crate) fn object_schema<T: Object>(
    defs: &mut Defs,
    doc: &[&str],
    properties: impl FnOnce(&mut Defs) -> Vec<Property>,
) -> serde_json::Value {
    let mut schema = json!({"type": "object", "description": join_doc(doc), "additionalProperties": false});
    let properties = properties(defs);
    let required: Vec<_> = properties.iter().filter(|(_, required, ..)| *required).map(|p| p.0).collect();
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if !T::EXACTLY_ONE.is_empty() {
        schema["oneOf"] = T::EXACTLY_ONE.iter().map(|key| json!({"required": [key]})).collect();
    }
    for (key, _, mut property, doc) in properties {
        property["description"] = doc.into();
        schema["properties"][key] = property;
    }
    defs.insert(T::NAME.to_owned(), schema);
    json!({"$ref": format!("#/$defs/{}", T::NAME)})
}

/// The lines of a doc comment as one text.
pub(crate) fn join_doc(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// Defines a mapping's struct, how it is read, and its schema. See the module's documentation.
macro_rules! form {
    (
        $(#[doc = $doc:literal])+
        $kind:ident $name:ident {
            $($(#[doc = $key_doc:literal])+ $key:literal $field:ident: $type:ty,)+
        }
        $(exactly_one { $($one:literal),+ })?
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug)]
        pub(crate) struct $name {
            $($(#[doc = $key_doc])+ pub(crate) $field: $type,)+
        }

        impl $crate::form::Object for $name {
            const NAME: &'static str = stringify!($name);
            const RESOURCE: bool = matches!(stringify!($kind).as_bytes(), b"resource");
            const KEYS: &'static [&'static str] = &[$($key),+];
            const EXACTLY_ONE: &'static [&'static str] = &[$($($one),+)?];
        }

        impl $crate::form::Form for $name {
            fn read(
                node: &$crate::node::Node,
                reader: &mut $crate::form::Reader<'_>,
            ) -> Option<Self> {
                reader.object(node, |fields| {
                    $(let $field = fields.key::<$type>($key);)+
                    Some(Self { $($field: $field?),+ })
                })
            }

            fn schema(defs: &mut $crate::form::Defs) -> serde_json::Value {
                $crate::form::object_schema::<Self>(defs, &[$($doc),+], |defs| {
                    vec![$((
                        $key,
                        <$type as $crate::form::Form>::REQUIRED,
                        <$type as $crate::form::Form>::schema(defs),
                        $crate::form::join_doc(&[$($key_doc),+]),
                    )),+]
                })
            }
        }
    };
}
pub(crate) use form;
