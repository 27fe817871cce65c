//! DAG-CBOR as strictly as the blocks of a repo are written: every number in its shortest form, the fields of a map in their
//! one order, every link a SHA-256 of DAG-CBOR. A block that is read here has exactly one encoding, so that what was read can
//! be written again and hashed.

/// The SHA-256 of a block.
pub(super) type Digest = [u8; 32];

const UNSIGNED: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const LIST: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const NULL: u8 = 0xf6;
/// In the low bits of the first byte: smaller numbers stand there themselves, larger ones in so many bytes behind it.
const ONE_BYTE: u8 = 0x18;
const TWO_BYTES: u8 = 0x19;
const FOUR_BYTES: u8 = 0x1a;
const EIGHT_BYTES: u8 = 0x1b;
/// The tag of a link.
const LINK_TAG: u64 = 42;
/// What stands before the digest in a link: the zero byte of DAG-CBOR links, version 1, DAG-CBOR, SHA-256, 32 bytes.
const LINK_PREFIX: [u8; 5] = [0x00, 0x01, 0x71, 0x12, 0x20];

/// The bytes are not what their place asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Reads from the front.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Begins.
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Nothing more may follow.
    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed) }
    }

    /// A map, and how many fields it has.
    pub(super) fn map(&mut self) -> Result<u64, Malformed> {
        self.head_of(MAP)
    }

    /// A list, and how many items it has.
    pub(super) fn list(&mut self) -> Result<u64, Malformed> {
        self.head_of(LIST)
    }

    /// The name of the next field, which must be this one.
    pub(super) fn name(&mut self, name: &str) -> Result<(), Malformed> {
        if self.text()? == name { Ok(()) } else { Err(Malformed) }
    }

    /// A text.
    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        let length = self.head_of(TEXT)?;
        std::str::from_utf8(self.take(length)?).map_err(|_| Malformed)
    }

    /// Bytes.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.head_of(BYTES)?;
        self.take(length)
    }

    /// A number that is not negative.
    pub(super) fn unsigned(&mut self) -> Result<u64, Malformed> {
        self.head_of(UNSIGNED)
    }

    /// A link.
    pub(super) fn link(&mut self) -> Result<Digest, Malformed> {
        if self.head_of(TAG)? != LINK_TAG {
            return Err(Malformed);
        }
        self.bytes()?.strip_prefix(&LINK_PREFIX).and_then(|digest| digest.try_into().ok()).ok_or(Malformed)
    }

    /// A link or null.
    pub(super) fn optional_link(&mut self) -> Result<Option<Digest>, Malformed> {
        match self.rest.split_first() {
            Some((&NULL, rest)) => {
                self.rest = rest;
                Ok(None)
            }
            _ => self.link().map(Some),
        }
    }

    fn head_of(&mut self, wanted: u8) -> Result<u64, Malformed> {
        let (&first, rest) = self.rest.split_first().ok_or(Malformed)?;
        self.rest = rest;
        if first >> 5 != wanted {
            return Err(Malformed);
        }
        let (width, least) = match first & 0x1f {
            short @ ..ONE_BYTE => return Ok(short.into()),
            ONE_BYTE => (1, ONE_BYTE.into()),
            TWO_BYTES => (2, 1 << 8),
            FOUR_BYTES => (4, 1 << 16),
            EIGHT_BYTES => (8, 1 << 32),
            _ => return Err(Malformed),
        };
        let number = self.take(width)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        if number >= least { Ok(number) } else { Err(Malformed) }
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(length).map_err(|_| Malformed)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// Writes to the end.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// What was written.
    pub bytes: Vec<u8>,
}

impl Writer {
    /// A map of so many fields.
    pub(super) fn map(&mut self, fields: usize) {
        self.head(MAP, fields);
    }

    /// A list of so many items.
    pub(super) fn list(&mut self, items: usize) {
        self.head(LIST, items);
    }

    /// The name of a field.
    pub(super) fn name(&mut self, name: &str) {
        self.head(TEXT, name.len());
        self.bytes.extend(name.as_bytes());
    }

    /// Bytes.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.head(BYTES, bytes.len());
        self.bytes.extend(bytes);
    }

    /// A number.
    pub(super) fn unsigned(&mut self, number: usize) {
        self.head(UNSIGNED, number);
    }

    /// A link or null.
    pub(super) fn optional_link(&mut self, link: Option<&Digest>) {
        let Some(digest) = link else { return self.bytes.push(NULL) };
        self.bytes.extend([TAG << 5 | ONE_BYTE, 42, BYTES << 5 | ONE_BYTE, 37]);
        self.bytes.extend(LINK_PREFIX);
        self.bytes.extend(digest);
    }

    fn head(&mut self, major: u8, number: usize) {
        let bytes = (number as u64).to_be_bytes();
        let major = major << 5;
        match number {
            0..24 => self.bytes.push(major | bytes[7]),
            24..=0xff => self.bytes.extend([major | ONE_BYTE, bytes[7]]),
            0x100..=0xffff => self.bytes.extend([major | TWO_BYTES, bytes[6], bytes[7]]),
            0x1_0000..=0xffff_ffff => self.bytes.extend([major | FOUR_BYTES, bytes[4], bytes[5], bytes[6], bytes[7]]),
            _ => {
                self.bytes.push(major | EIGHT_BYTES);
                self.bytes.extend(bytes);
            }
        }
    }
}
