//! Shapes of JSON that serde's own implementations are too lenient for, or too talkative about.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::trpc::issue::{Description, Violation, describe};

/// For `deserialize_with` beside `default`: the field may be absent, but it may not be `null`.
pub(super) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// Like [`present`], for an object.
pub(super) fn present_object<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Object::deserialize(deserializer).map(|Object(fields)| Some(fields))
}

/// A struct that is written as an object. Derived implementations alone also read an array of the fields' values.
#[derive(Debug)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// An object, with `null` and absence told apart. For fields with `default`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Nullable<T> {
    /// The field is absent.
    #[default]
    Absent,
    /// The field is `null`.
    Null,
    /// The field has a value.
    Object(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Nullable<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Option::<Object<T>>::deserialize(deserializer)?;
        Ok(object.map_or(Self::Null, |Object(fields)| Self::Object(fields)))
    }
}

/// At most `MAX` elements; reading stops at the first one too many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<T, const MAX: usize>(pub Vec<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T, const MAX: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for ListVisitor<T, MAX> {
            type Value = List<T, MAX>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut sequence: A,
            ) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = sequence.next_element()? {
                    if elements.len() == MAX {
                        return Err(A::Error::custom(Violation::too_big(MAX, "entries")));
                    }
                    elements.push(element);
                }
                Ok(List(elements))
            }
        }

        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

/// One member of an object whose keys are the client's own.
pub trait Entry: Sized {
    /// Most members.
    const ENTRIES_MAX: usize;

    /// Reads a member.
    ///
    /// # Errors
    /// The broken rule, in words that show neither key nor value.
    fn read(name: String, value: &RawValue) -> Result<Self, Violation>;
}

/// An object whose keys are the client's own, in the order in which they were written.
///
/// Each value is read apart from the whole, so that neither it nor its key gets into the path of an issue: an
/// entry that is wrong is told by its position, the first being 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entries<E>(pub Vec<E>);

impl<'de, E: Entry> Deserialize<'de> for Entries<E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<E>(PhantomData<E>);

        impl<'de, E: Entry> Visitor<'de> for EntriesVisitor<E> {
            type Value = Entries<E>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    if entries.len() == E::ENTRIES_MAX {
                        let violation = Violation::too_big(E::ENTRIES_MAX, "entries");
                        return Err(A::Error::custom(violation));
                    }
                    let entry = E::read(name, value).map_err(|violation| {
                        A::Error::custom(violation.of_entry(entries.len().saturating_add(1)))
                    })?;
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

/// Reads the value of an entry.
pub(super) fn entry_value<'de, T: Deserialize<'de>>(value: &'de RawValue) -> Result<T, Violation> {
    serde_json::from_str(value.get()).map_err(|error| {
        let Description { violation, field } = describe(&error);
        match field {
            Some(field) => Violation::new(violation.code, format!("{field} {}", violation.message)),
            None => violation,
        }
    })
}
