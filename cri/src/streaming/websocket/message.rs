//! PURE. Channels in messages: the first byte is the channel, the rest is for it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio_tungstenite::tungstenite::Message;

/// The channel that is not one: the byte after it names a channel whose input has ended (version 5).
const CLOSE: u8 = 255;

/// How channels stand in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::streaming) enum Framing {
    /// Binary messages.
    Binary,
    /// Binary messages, and the end of a channel's input can be told.
    BinaryWithClose,
    /// Text messages: the channel as a digit, the rest in base64.
    Base64,
}

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Bytes for a channel.
    Data(u8, Bytes),
    /// No more comes on a channel.
    End(u8),
    /// Nothing.
    Nothing,
}

/// Why a message is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// Reads a message of a client.
pub(super) fn read(framing: Framing, message: Message) -> Result<Said, Malformed> {
    match (framing, message) {
        (Framing::Base64, Message::Text(text)) => from_base64(text.as_bytes()),
        (Framing::Base64, Message::Binary(_)) => Err(Malformed("a binary message where base64 was negotiated")),
        (_, Message::Text(_)) => Err(Malformed("a text message where binary ones were negotiated")),
        (_, Message::Binary(bytes)) => from_binary(framing, bytes),
        (_, Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => Ok(Said::Nothing),
    }
}

fn from_binary(framing: Framing, mut bytes: Bytes) -> Result<Said, Malformed> {
    if bytes.is_empty() {
        return Ok(Said::Nothing);
    }
    let channel = bytes.split_to(1)[0];
    if framing == Framing::BinaryWithClose && channel == CLOSE {
        return match bytes[..] {
            [channel] => Ok(Said::End(channel)),
            _ => Err(Malformed("a close signal is not one channel long")),
        };
    }
    Ok(Said::Data(channel, bytes))
}

fn from_base64(text: &[u8]) -> Result<Said, Malformed> {
    let Some((channel, rest)) = text.split_first() else { return Ok(Said::Nothing) };
    let digit = channel.checked_sub(b'0').filter(|digit| *digit <= 9);
    let channel = digit.ok_or(Malformed("the channel of a message is not a digit"))?;
    let bytes = STANDARD.decode(rest).map_err(|_| Malformed("a message is not base64"))?;
    Ok(Said::Data(channel, bytes.into()))
}

/// Makes a message for a client.
pub(super) fn write(framing: Framing, channel: u8, data: &[u8]) -> Message {
    match framing {
        Framing::Binary | Framing::BinaryWithClose => Message::Binary([&[channel], data].concat().into()),
        Framing::Base64 => {
            let mut text = String::with_capacity(1 + data.len().div_ceil(3) * 4);
            text.push(char::from(b'0'.saturating_add(channel)));
            STANDARD.encode_string(data, &mut text);
            Message::Text(text.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn binary(bytes: &'static [u8]) -> Message {
        Message::Binary(Bytes::from_static(bytes))
    }

    #[test]
    fn data_close_and_nothing() {
        let close = Framing::BinaryWithClose;
        assert_eq!(read(close, binary(&[0, b'x'])), Ok(Said::Data(0, Bytes::from_static(b"x"))));
        assert_eq!(read(close, binary(&[255, 0])), Ok(Said::End(0)));
        assert_eq!(read(Framing::Binary, binary(&[255, 0])), Ok(Said::Data(255, Bytes::from_static(&[0]))));
        assert_eq!(read(close, binary(&[])), Ok(Said::Nothing));
        assert_eq!(read(Framing::Base64, Message::Text("0eA==".into())), Ok(Said::Data(0, Bytes::from_static(b"x"))));
        assert_eq!(write(Framing::Base64, 1, b"x"), Message::Text("1eA==".into()));
        assert_eq!(write(close, 1, b"x"), binary(&[1, b'x']));
    }

    #[test]
    fn what_is_malformed_is_named() {
        let close = Framing::BinaryWithClose;
        for (framing, message, word) in [
            (close, binary(&[255]), "close signal"),
            (close, binary(&[255, 0, 0]), "close signal"),
            (close, Message::Text("0".into()), "text"),
            (Framing::Base64, binary(&[0]), "binary"),
            (Framing::Base64, Message::Text("xeA==".into()), "digit"),
            (Framing::Base64, Message::Text("0!".into()), "base64"),
        ] {
            let error = read(framing, message).unwrap_err();
            assert!(error.0.contains(word), "{}", error.0);
        }
    }

    proptest! {
        #[test]
        fn any_message(bytes in proptest::collection::vec(any::<u8>(), 0..100), text in ".{0,50}") {
            for framing in [Framing::Binary, Framing::BinaryWithClose, Framing::Base64] {
                let _ = read(framing, Message::Binary(bytes.clone().into()));
                let _ = read(framing, Message::Text(text.clone().into()));
            }
        }

        #[test]
        fn what_is_written_is_read(channel in 0_u8..10, bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            for framing in [Framing::Binary, Framing::BinaryWithClose, Framing::Base64] {
                let said = read(framing, write(framing, channel, &bytes));
                prop_assert_eq!(said, Ok(Said::Data(channel, bytes.clone().into())));
            }
        }
    }
}
