//! Values of one length that are packed to half their size or less: hexadecimal numbers and UUIDs.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

/// Shorter hexadecimal values are left to the compressor, which sees them as the few words they mostly are.
const MIN_HEX_DIGITS: u32 = 8;
/// Longer ones are left alone because nothing needs them.
const MAX_HEX_DIGITS: u32 = 1024;

const UUID_LEN: usize = 36;
const UUID_PACKED_LEN: usize = 16;
/// Where the dashes of a UUID are.
const UUID_DASHES: [usize; 4] = [8, 13, 18, 23];

const DIGITS: [u8; 16] = *b"0123456789abcdef";

/// What [`nibble`] says of a byte that is no digit.
const NO_DIGIT: u8 = u8::MAX;
const NIBBLES: [u8; 256] = nibbles();

#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "runs when this is compiled")]
const fn nibbles() -> [u8; 256] {
    let mut nibbles = [NO_DIGIT; 256];
    let mut nibble = 0;
    while nibble < DIGITS.len() {
        nibbles[DIGITS[nibble] as usize] = nibble as u8;
        nibble += 1;
    }
    nibbles
}

/// What all values of a dictionary look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FixedForm {
    /// An even number of lower-case hexadecimal digits.
    Hex { digits: u32 },
    /// A lower-case UUID with its dashes.
    Uuid,
}

impl FixedForm {
    /// The form of values with so many digits, if it is one.
    pub(super) fn hex(digits: u32) -> Option<Self> {
        let fits = digits.is_multiple_of(2) && (MIN_HEX_DIGITS..=MAX_HEX_DIGITS).contains(&digits);
        fits.then_some(Self::Hex { digits })
    }

    /// The form of `value`, if it has one.
    pub(super) fn of(value: &str) -> Option<Self> {
        let form = if value.len() == UUID_LEN && value.contains('-') {
            Self::Uuid
        } else {
            Self::hex(u32::try_from(value.len()).ok()?)?
        };
        form.accepts(value).then_some(form)
    }

    /// The length of a value.
    pub(super) fn text_len(self) -> usize {
        match self {
            Self::Hex { digits } => digits as usize,
            Self::Uuid => UUID_LEN,
        }
    }

    /// The length of a packed value.
    pub(super) fn packed_len(self) -> usize {
        match self {
            Self::Hex { digits } => (digits / 2) as usize,
            Self::Uuid => UUID_PACKED_LEN,
        }
    }

    /// Whether `value` has this form.
    pub(super) fn accepts(self, value: &str) -> bool {
        let is_digit = |byte: u8| nibble(byte) != NO_DIGIT;
        value.len() == self.text_len()
            && match self {
                Self::Hex { .. } => value.bytes().all(is_digit),
                Self::Uuid => value.bytes().enumerate().all(|(at, byte)| match byte {
                    b'-' => UUID_DASHES.contains(&at),
                    byte => is_digit(byte) && !UUID_DASHES.contains(&at),
                }),
            }
    }

    /// Appends the packed form of `value`, which must have a fixed form; which one makes no difference.
    pub(super) fn pack_into(value: &str, out: &mut Vec<u8>) {
        // Dashes only stand where a byte ends.
        for digits in value.split('-') {
            let pairs = digits.as_bytes().chunks_exact(2);
            out.extend(pairs.map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | nibble(*digit))));
        }
    }

    /// The packed form of `value`, if it has this form.
    pub(super) fn pack(self, value: &str) -> Option<Vec<u8>> {
        let mut packed = Vec::with_capacity(self.packed_len());
        self.accepts(value).then(|| Self::pack_into(value, &mut packed))?;
        Some(packed)
    }

    /// All values of `packed`, one after the other.
    pub(super) fn unpack_all(self, packed: &[u8]) -> String {
        let values = packed.chunks_exact(self.packed_len());
        let mut text = String::with_capacity(values.len().saturating_mul(self.text_len()));
        for value in values {
            let mut at = 0_usize;
            for byte in value {
                if self == Self::Uuid && UUID_DASHES.contains(&at) {
                    text.push('-');
                    at = at.saturating_add(1);
                }
                for nibble in [byte >> 4, byte & 0xf] {
                    text.push(char::from(DIGITS.get(usize::from(nibble)).copied().unwrap_or_default()));
                }
                at = at.saturating_add(2);
            }
        }
        text
    }
}

/// The value of a digit, or [`NO_DIGIT`].
fn nibble(digit: u8) -> u8 {
    NIBBLES.get(usize::from(digit)).copied().unwrap_or(NO_DIGIT)
}
