//! Reads the kernel's description of its own types: where members of structures are, and values of
//! enumerations. Only what that needs, and every access checked: an unknown or broken description
//! gives no answer. aya's parser has the types but keeps their members to itself.
//!
//! Format: `Documentation/bpf/btf.rst` of the kernel.

/// `BTF_MAGIC`, in the byte order of who wrote it: other machines' descriptions are refused.
const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;
/// Bytes of the header that are known here; it may be longer.
const HEADER: usize = 24;
/// Bytes of what every type begins with.
const TYPE: usize = 12;
/// Bytes of a member, and of a value of 64 bits.
const MEMBER: usize = 12;
/// Most names between a type and what it stands for, and most anonymous members within another.
const DEEPEST: usize = 16;

/// `BTF_KIND_*`, those that matter.
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// The description.
#[derive(Debug)]
pub(super) struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where each type begins; the first is number 1.
    starts: Vec<u32>,
}

/// What every type begins with.
#[derive(Clone, Copy, Debug)]
struct Type {
    name: u32,
    kind: u32,
    /// Number of members or values.
    count: usize,
    /// Structures: member offsets carry sizes of bit fields.
    flag: bool,
    /// Bytes, or the type that this one is about.
    size_or_target: u32,
    /// Where what follows is.
    rest: usize,
}

/// Where a member is, in bytes, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) offset: u32,
    pub(super) size: u32,
    pub(super) pointer: bool,
}

impl<'a> Btf<'a> {
    /// Reads the header, and finds the types. None where something is unknown.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let magic = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
        let header = usize::try_from(word(bytes, 4)?).ok()?;
        if magic != MAGIC || *bytes.get(2)? != VERSION || header < HEADER {
            return None;
        }
        let section = |offset, length| -> Option<&'a [u8]> {
            let start = header.checked_add(usize::try_from(word(bytes, offset)?).ok()?)?;
            let end = start.checked_add(usize::try_from(word(bytes, length)?).ok()?)?;
            bytes.get(start..end)
        };
        let (types, strings) = (section(8, 12)?, section(16, 20)?);
        let mut btf = Self { types, strings, starts: Vec::new() };
        let mut at = 0;
        while at < types.len() {
            let end = btf.read(at)?.end()?;
            if end > types.len() {
                return None;
            }
            btf.starts.push(u32::try_from(at).ok()?);
            at = end;
        }
        Some(btf)
    }

    /// The member that `path` leads to from a structure, through others that have names; what is
    /// in anonymous ones counts as the outer one's, as in C. None where it is not there, is a bit
    /// field, or where several structures of this name differ.
    pub(super) fn field(&self, structure: &str, path: &[&str]) -> Option<Field> {
        agreed(self.named(kind::STRUCT, structure).map(|found| {
            let mut inside = found;
            let mut bits = 0u32;
            let mut target = 0;
            for name in path {
                let (offset, of) = self.member(inside, name, 0)?;
                bits = bits.checked_add(offset)?;
                target = of;
                inside = self.meant(of)?;
            }
            let size = self.size(target)?;
            let pointer = inside.kind == kind::PTR;
            bits.is_multiple_of(8).then_some(Field { offset: bits / 8, size, pointer })
        }))
    }

    /// A value of an enumeration. None where it is not there, is negative, or where several
    /// enumerations of this name differ.
    pub(super) fn value(&self, enumeration: &str, name: &str) -> Option<u64> {
        let narrow = self.named(kind::ENUM, enumeration).map(|found| {
            let at = self.named_at(found, 8, name)?;
            let value = word(self.types, at.checked_add(4)?)?;
            // The flag says that values are signed.
            if found.flag { u64::try_from(value.cast_signed()).ok() } else { Some(value.into()) }
        });
        let wide = self.named(kind::ENUM64, enumeration).map(|found| {
            let at = self.named_at(found, MEMBER, name)?;
            let low = word(self.types, at.checked_add(4)?)?;
            let high = word(self.types, at.checked_add(8)?)?;
            let value = u64::from(high) << 32 | u64::from(low);
            (!found.flag || value.cast_signed() >= 0).then_some(value)
        });
        agreed(narrow.chain(wide))
    }

    /// Where the record of that name is among those that follow a type.
    fn named_at(&self, of: Type, size: usize, name: &str) -> Option<usize> {
        let records = (0..of.count).map(|index| Some(of.rest + index * size));
        records.flatten().find(|at| word(self.types, *at).is_some_and(|it| self.is(it, name)))
    }

    /// A member's offset in bits, and the number of its type.
    fn member(&self, of: Type, name: &str, depth: usize) -> Option<(u32, u32)> {
        if depth > DEEPEST || !matches!(of.kind, kind::STRUCT | kind::UNION) {
            return None;
        }
        for index in 0..of.count {
            let at = of.rest + index * MEMBER;
            let (called, target) = (word(self.types, at)?, word(self.types, at + 4)?);
            let place = word(self.types, at + 8)?;
            let (offset, width) =
                if of.flag { (place & 0xff_ffff, place >> 24) } else { (place, 0) };
            if self.is(called, name) {
                return (width == 0).then_some((offset, target));
            }
            let anonymous = || self.member(self.meant(target)?, name, depth + 1);
            if called == 0
                && let Some((inner, target)) = anonymous()
            {
                return Some((offset.checked_add(inner)?, target));
            }
        }
        None
    }

    /// The types of a kind and a name, declarations without members left out.
    fn named(&self, kind: u32, name: &str) -> impl Iterator<Item = Type> {
        let types = self.starts.iter().filter_map(|start| self.read(usize::try_from(*start).ok()?));
        types.filter(move |it| it.kind == kind && it.count > 0 && self.is(it.name, name))
    }

    /// The type itself, behind names and qualifiers.
    fn meant(&self, number: u32) -> Option<Type> {
        let mut number = number;
        for _ in 0..DEEPEST {
            let found = self.numbered(number)?;
            match found.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    number = found.size_or_target;
                }
                _ => return Some(found),
            }
        }
        None
    }

    fn size(&self, number: u32) -> Option<u32> {
        let found = self.meant(number)?;
        match found.kind {
            kind::INT | kind::STRUCT | kind::UNION | kind::ENUM | kind::ENUM64 => {
                Some(found.size_or_target)
            }
            kind::PTR => u32::try_from(size_of::<usize>()).ok(),
            _ => None,
        }
    }

    fn numbered(&self, number: u32) -> Option<Type> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.read(usize::try_from(*self.starts.get(index)?).ok()?)
    }

    fn read(&self, at: usize) -> Option<Type> {
        let info = word(self.types, at.checked_add(4)?)?;
        Some(Type {
            name: word(self.types, at)?,
            kind: info >> 24 & 0x1f,
            count: usize::try_from(info & 0xffff).ok()?,
            flag: info >> 31 == 1,
            size_or_target: word(self.types, at.checked_add(8)?)?,
            rest: at.checked_add(TYPE)?,
        })
    }

    /// Whether the string at a place is `name`, which is not empty.
    fn is(&self, place: u32, name: &str) -> bool {
        let rest = usize::try_from(place).ok().and_then(|place| self.strings.get(place..));
        let after = rest.and_then(|rest| rest.strip_prefix(name.as_bytes()));
        after.is_some_and(|after| after.first() == Some(&0))
    }
}

impl Type {
    /// Where the next one begins. None for kinds that are not known.
    const fn end(&self) -> Option<usize> {
        /// `BTF_KIND_MAX` that is known.
        const LAST: u32 = kind::ENUM64;
        let length = match self.kind {
            kind::INT | kind::VAR | kind::DECL_TAG => 4,
            kind::ARRAY => 12,
            kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => self.count * MEMBER,
            kind::ENUM | kind::FUNC_PROTO => self.count * 8,
            1..=LAST => 0,
            _ => return None,
        };
        self.rest.checked_add(length)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// What all say; None where one has no answer, or another one.
fn agreed<T: PartialEq>(mut answers: impl Iterator<Item = Option<T>>) -> Option<T> {
    let first = answers.next()??;
    answers.all(|answer| answer.as_ref() == Some(&first)).then_some(first)
}

#[cfg(test)]
pub(super) mod tests;
