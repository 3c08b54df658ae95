//! A description made by hand, broken ones, and whatever bytes there may be.

use proptest::prelude::*;

use super::*;

/// Writes a description.
#[derive(Default)]
pub(in crate::accel) struct Writer {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

impl Writer {
    pub(in crate::accel) fn new() -> Self {
        Self { strings: vec![0], ..Self::default() }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len();
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        u32::try_from(at).unwrap()
    }

    /// Adds a type; `records` are the words that follow it. Returns its number.
    pub(in crate::accel) fn add(
        &mut self,
        name: &str,
        (kind, count, flag): (u32, usize, bool),
        size_or_type: u32,
        records: &[u32],
    ) -> u32 {
        let name = self.name(name);
        let info = u32::from(flag) << 31 | kind << 24 | u32::try_from(count).unwrap();
        for word in [name, info, size_or_type].iter().chain(records) {
            self.types.extend_from_slice(&word.to_ne_bytes());
        }
        self.count += 1;
        self.count
    }

    pub(in crate::accel) fn int(&mut self, size: u32) -> u32 {
        self.add("int", (kind::INT, 0, false), size, &[size * 8])
    }

    pub(in crate::accel) fn pointer(&mut self) -> u32 {
        self.add("", (kind::PTR, 0, false), 0, &[])
    }

    /// Members are names, types and offsets in bits.
    pub(in crate::accel) fn structure(
        &mut self,
        name: &str,
        flag: bool,
        size: u32,
        members: &[(&str, u32, u32)],
    ) -> u32 {
        let records: Vec<u32> =
            members.iter().flat_map(|(name, of, bits)| [self.name(name), *of, *bits]).collect();
        self.add(name, (kind::STRUCT, members.len(), flag), size, &records)
    }

    pub(in crate::accel) fn union(&mut self, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        let records: Vec<u32> =
            members.iter().flat_map(|(name, of, bits)| [self.name(name), *of, *bits]).collect();
        self.add("", (kind::UNION, members.len(), false), size, &records)
    }

    pub(in crate::accel) fn enumeration(&mut self, name: &str, values: &[(&str, u32)]) -> u32 {
        let records: Vec<u32> =
            values.iter().flat_map(|(name, value)| [self.name(name), *value]).collect();
        self.add(name, (kind::ENUM, values.len(), false), 4, &records)
    }

    pub(in crate::accel) fn bytes(&self) -> Vec<u8> {
        let length = |part: &[u8]| u32::try_from(part.len()).unwrap().to_ne_bytes();
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&[VERSION, 0]);
        bytes.extend_from_slice(&24u32.to_ne_bytes());
        bytes.extend_from_slice(&0u32.to_ne_bytes());
        bytes.extend_from_slice(&length(&self.types));
        bytes.extend_from_slice(&length(&self.types));
        bytes.extend_from_slice(&length(&self.strings));
        bytes.extend_from_slice(&self.types);
        bytes.extend_from_slice(&self.strings);
        bytes
    }
}

/// `outer { pad; struct { long; union { long both; pointer ptr; } } ; named { int deep } ; bits:3 }`
fn sample() -> Vec<u8> {
    let mut writer = Writer::new();
    let (int, long, pointer) = (writer.int(4), writer.int(8), writer.pointer());
    let alias = writer.add("alias_t", (kind::TYPEDEF, 0, false), int, &[]);
    let constant = writer.add("", (kind::CONST, 0, false), alias, &[]);
    let either = writer.union(8, &[("both", long, 0), ("ptr", pointer, 0)]);
    let anonymous = writer.structure("", false, 16, &[("first", long, 0), ("", either, 64)]);
    let named = writer.structure("named", false, 8, &[("pad", int, 0), ("deep", constant, 32)]);
    writer.structure(
        "outer",
        true,
        48,
        &[
            ("pad", long, 0),
            ("", anonymous, 64),
            ("named", named, 192),
            ("bits", int, wide(3, 256)),
            ("odd", int, wide(1, 259)),
        ],
    );
    writer.enumeration("flags", &[("NONE", 0), ("SOME", 18), ("MINUS", u32::MAX)]);
    let (name, first) = (writer.name("WIDE"), writer.name("NARROW"));
    writer.add("wide", (kind::ENUM64, 2, false), 8, &[first, 1, 0, name, 5, 1]);
    writer.structure("twice", false, 8, &[("it", int, 0)]);
    writer.structure("twice", false, 8, &[("it", int, 32)]);
    writer.bytes()
}

/// A bit field's width and offset.
const fn wide(bits: u32, offset: u32) -> u32 {
    bits << 24 | offset
}

const fn at(offset: u32, size: u32, pointer: bool) -> Field {
    Field { offset, size, pointer }
}

#[test]
fn members_are_found_through_names_and_through_none() {
    let bytes = sample();
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(btf.field("outer", &["pad"]), Some(at(0, 8, false)));
    assert_eq!(btf.field("outer", &["first"]), Some(at(8, 8, false)));
    assert_eq!(btf.field("outer", &["both"]), Some(at(16, 8, false)));
    assert_eq!(btf.field("outer", &["ptr"]), Some(at(16, 8, true)));
    assert_eq!(btf.field("outer", &["named", "deep"]), Some(at(28, 4, false)));
    assert_eq!(btf.field("outer", &["deep"]), None, "of a named member");
    assert_eq!(btf.field("outer", &["pad", "deep"]), None, "of a number");
    assert_eq!(btf.field("outer", &["bits"]), None, "a bit field");
    assert_eq!(btf.field("twice", &["it"]), None, "two answers");
    assert_eq!(btf.field("nowhere", &["it"]), None);
    assert_eq!(btf.field("outer", &[]), None);
}

#[test]
fn values_are_found() {
    let bytes = sample();
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(btf.value("flags", "SOME"), Some(18));
    assert_eq!(btf.value("flags", "MINUS"), Some(u32::MAX.into()));
    assert_eq!(btf.value("flags", "SOM"), None);
    assert_eq!(btf.value("wide", "WIDE"), Some((1 << 32) + 5));
}

#[test]
fn what_is_not_known_is_refused() {
    let mut writer = Writer::new();
    writer.add("new", (31, 0, false), 0, &[]);
    assert!(Btf::parse(&writer.bytes()).is_none(), "a kind");
    let mut bytes = sample();
    bytes[2] = 2;
    assert!(Btf::parse(&bytes).is_none(), "a version");
    bytes[2] = VERSION;
    bytes.swap(0, 1);
    assert!(Btf::parse(&bytes).is_none(), "another byte order");
}

#[test]
fn a_type_that_is_its_own_member_has_no_end() {
    let mut writer = Writer::new();
    writer.structure("loop", false, 8, &[("", 1, 0)]);
    writer.add("self_t", (kind::TYPEDEF, 0, false), 2, &[]);
    writer.structure("user", false, 8, &[("it", 2, 0)]);
    let bytes = writer.bytes();
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(btf.field("loop", &["x"]), None);
    assert_eq!(btf.field("user", &["it"]), None);
}

proptest! {
    /// Whatever is cut off or written over: no panic.
    #[test]
    fn broken_descriptions_are_survived(
        end in 0usize..800,
        changes in prop::collection::vec((0usize..800, any::<u8>()), 0..8),
    ) {
        let mut bytes = sample();
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        bytes.truncate(end);
        if let Some(btf) = Btf::parse(&bytes) {
            for name in ["outer", "twice", "named"] {
                btf.field(name, &["named", "deep"]);
                btf.field(name, &["first"]);
            }
            btf.value("flags", "SOME");
            btf.value("wide", "WIDE");
        }
    }
}
