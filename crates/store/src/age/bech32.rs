//! Bech32 (BIP 173) of 32 bytes, in small letters, without its bound of 90 characters.

const LETTERS: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// 32 bytes are 52 letters, of which the last has 4 bits that say nothing; then come 6 of a check.
const DATA_LETTERS: usize = 52;
const CHECK_LETTERS: usize = 6;

/// What `text` says behind `prefix`; `None` when it is in another form, or not whole.
pub(super) fn decode(prefix: &str, text: &str) -> Option<[u8; 32]> {
    let letters = text.strip_prefix(prefix)?.strip_prefix('1')?.as_bytes();
    if letters.len() != DATA_LETTERS + CHECK_LETTERS {
        return None;
    }
    let mut values = Vec::with_capacity(letters.len());
    for letter in letters {
        let value = LETTERS.iter().position(|it| it == letter)?;
        values.push(u8::try_from(value).ok()?);
    }
    let whole: Vec<u8> = spread(prefix).chain(values.iter().copied()).collect();
    if check(&whole) != 1 {
        return None;
    }
    let mut bytes = [0; 32];
    let (mut bits, mut held, mut at) = (0_u32, 0_u32, 0);
    for value in &values[..DATA_LETTERS] {
        bits = (bits << 5) | u32::from(*value);
        held += 5;
        if held >= 8 {
            held -= 8;
            bytes[at] = u8::try_from((bits >> held) & 0xff).ok()?;
            at += 1;
        }
        bits &= (1 << held) - 1;
    }
    // What is left over is nothing.
    (bits == 0 && at == bytes.len()).then_some(bytes)
}

/// Writes 32 bytes behind `prefix`.
pub(super) fn encode(prefix: &str, bytes: [u8; 32]) -> String {
    let mut values = Vec::with_capacity(DATA_LETTERS + CHECK_LETTERS);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in bytes {
        bits = (bits << 8) | u32::from(byte);
        held += 8;
        while held >= 5 {
            held -= 5;
            values.push((bits >> held) & 31);
        }
        bits &= (1 << held) - 1;
    }
    values.push((bits << (5 - held)) & 31);
    let data: Vec<u8> = values.iter().filter_map(|it| u8::try_from(*it).ok()).collect();
    let whole: Vec<u8> = spread(prefix).chain(data).chain([0; CHECK_LETTERS]).collect();
    let sum = check(&whole) ^ 1;
    values.extend((0..6).map(|at| (sum >> (5 * (5 - at))) & 31));
    let letters = values.iter().map(|it| char::from(LETTERS[*it as usize]));
    format!("{prefix}1{}", letters.collect::<String>())
}

/// The prefix, as it is checked.
fn spread(prefix: &str) -> impl Iterator<Item = u8> {
    let high = prefix.bytes().map(|it| it >> 5);
    let low = prefix.bytes().map(|it| it & 31);
    high.chain([0]).chain(low)
}

fn check(values: &[u8]) -> u32 {
    const PARTS: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let mut sum = 1_u32;
    for value in values {
        let top = sum >> 25;
        sum = ((sum & 0x01ff_ffff) << 5) ^ u32::from(*value);
        for (at, part) in PARTS.iter().enumerate() {
            if (top >> at) & 1 == 1 {
                sum ^= part;
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the documentation of age.
    const KNOWN: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

    #[test]
    fn what_is_known_is_read_and_written() {
        let bytes = decode("age", KNOWN).expect("it is one");
        assert_eq!(encode("age", bytes), KNOWN);
        for seed in 0..=255_u8 {
            let mut bytes = [seed.wrapping_mul(31); 32];
            for (byte, at) in bytes.iter_mut().zip(0_u8..) {
                *byte = byte.wrapping_add(at);
            }
            assert_eq!(decode("x", &encode("x", bytes)), Some(bytes));
        }
    }

    #[test]
    fn no_letter_can_be_another() {
        for at in 0..KNOWN.len() {
            for letter in ['q', 'p', '2', '1', 'A', 'é'] {
                let mut changed: Vec<char> = KNOWN.chars().collect();
                if changed[at] == letter {
                    continue;
                }
                changed[at] = letter;
                let changed: String = changed.into_iter().collect();
                assert_eq!(decode("age", &changed), None, "{changed}");
            }
        }
        assert_eq!(decode("age", ""), None);
        assert_eq!(decode("age", &KNOWN[..61]), None);
        assert_eq!(decode("age", &format!("{KNOWN}q")), None);
    }
}
