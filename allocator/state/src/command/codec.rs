//! Owns how a batch is written down: version, log time, the commands without contact data, and
//! after them the contacts, a part of its own that the hash chain does not see.

use super::{
    Batch, BeginCheckout, ChangeOnsale, Command, CommandKind, Contact, DropChange, DropChannel,
    DropRevision, ExtendHold, Hold, KillSeats, LeaseJobs, OpenOnsale, PrepareEvent, PublishEvent,
    PutApiKey, PutChannel, PutCodes, PutSigningKey, ReleaseHold, RenameTicket, ReturnSeats,
    SellOverTheCounter, SettleJob, SwapSeat, WakeJob,
};
use crate::{
    codec::{Line, Reader, put_delta, put_u8, put_varint},
    error::DecodeError,
    limits::{BATCH_COMMANDS_MAX, BATCH_DECODE_BYTES_MAX},
};

const VERSION: u8 = 1;
const HOLD: u8 = 3;
const RELEASE_HOLD: u8 = 4;

impl CommandKind {
    fn encode(&self, out: &mut Vec<u8>) {
        macro_rules! write {
            ($($tag:tt $kind:ident)*) => {
                match self {
                    $(Self::$kind(command) => {
                        out.push($tag);
                        command.encode(out);
                    })*
                    Self::Tick => out.push(0),
                }
            };
        }
        write!(1 OpenOnsale 2 ChangeOnsale HOLD Hold RELEASE_HOLD ReleaseHold
            5 ExtendHold 6 BeginCheckout
            7 SellOverTheCounter 8 LeaseJobs 9 SettleJob 10 WakeJob 11 PrepareEvent
            12 PublishEvent 13 PutApiKey 14 PutSigningKey
            15 KillSeats 16 ReturnSeats 17 SwapSeat 18 RenameTicket 19 DropChange 20 DropRevision
            21 PutChannel 22 DropChannel 25 PutCodes);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match r.u8()? {
            0 => Self::Tick,
            1 => Self::OpenOnsale(Box::new(OpenOnsale::decode(r)?)),
            2 => Self::ChangeOnsale(Box::new(ChangeOnsale::decode(r)?)),
            HOLD => Self::Hold(Hold::decode(r)?),
            RELEASE_HOLD => Self::ReleaseHold(ReleaseHold::decode(r)?),
            5 => Self::ExtendHold(ExtendHold::decode(r)?),
            6 => Self::BeginCheckout(Box::new(BeginCheckout::decode(r)?)),
            7 => Self::SellOverTheCounter(SellOverTheCounter::decode(r)?),
            8 => Self::LeaseJobs(LeaseJobs::decode(r)?),
            9 => Self::SettleJob(Box::new(SettleJob::decode(r)?)),
            10 => Self::WakeJob(WakeJob::decode(r)?),
            11 => Self::PrepareEvent(Box::new(PrepareEvent::decode(r)?)),
            12 => Self::PublishEvent(PublishEvent::decode(r)?),
            13 => Self::PutApiKey(PutApiKey::decode(r)?),
            14 => Self::PutSigningKey(PutSigningKey::decode(r)?),
            15 => Self::KillSeats(Box::new(KillSeats::decode(r)?)),
            16 => Self::ReturnSeats(Box::new(ReturnSeats::decode(r)?)),
            17 => Self::SwapSeat(Box::new(SwapSeat::decode(r)?)),
            18 => Self::RenameTicket(Box::new(RenameTicket::decode(r)?)),
            19 => Self::DropChange(DropChange::decode(r)?),
            20 => Self::DropRevision(DropRevision::decode(r)?),
            21 => Self::PutChannel(Box::new(PutChannel::decode(r)?)),
            22 => Self::DropChannel(Box::new(DropChannel::decode(r)?)),
            25 => Self::PutCodes(Box::new(PutCodes::decode(r)?)),
            _ => {
                return Err(DecodeError::Invalid { what: "a command's kind" });
            }
        })
    }
}

impl CommandKind {
    /// Its part with personal data.
    fn contact(&self) -> Option<&Contact> {
        match self {
            Self::BeginCheckout(command) => Some(&command.contact),
            Self::RenameTicket(command) => Some(&command.contact),
            _ => None,
        }
    }

    fn contact_mut(&mut self) -> Option<&mut Contact> {
        match self {
            Self::BeginCheckout(command) => Some(&mut command.contact),
            Self::RenameTicket(command) => Some(&mut command.contact),
            _ => None,
        }
    }
}

impl Command {
    /// All but the contact.
    pub(crate) fn encode_for_chain(&self, log_time_ms: u64, out: &mut Vec<u8>) {
        self.encode_head(log_time_ms, &mut Line::new(), out);
    }

    /// All but the contact.
    #[inline(always)]
    fn encode_head(&self, log_time_ms: u64, line: &mut Line, out: &mut Vec<u8>) {
        match &self.kind {
            CommandKind::Hold(command) if command.is_short() => {
                line.clear();
                put_delta(line, self.not_after_ms, log_time_ms);
                put_u8(line, HOLD);
                command.encode(line);
                out.extend_from_slice(line.written());
            }
            CommandKind::ReleaseHold(command) => {
                line.clear();
                put_delta(line, self.not_after_ms, log_time_ms);
                put_u8(line, RELEASE_HOLD);
                command.encode(line);
                out.extend_from_slice(line.written());
            }
            kind => {
                put_delta(out, self.not_after_ms, log_time_ms);
                kind.encode(out);
            }
        }
    }

    /// The bytes this command adds to a batch, its contact part included; for batchers that keep
    /// below [`crate::limits::BATCH_BYTES_MAX`].
    pub fn encoded_len(&self) -> usize {
        let mut out = Vec::with_capacity(256);
        put_delta(&mut out, self.not_after_ms, 0);
        self.kind.encode(&mut out);
        if let Some(contact) = self.kind.contact() {
            contact.encode(&mut out);
        }
        out.len()
    }
}

impl Batch {
    /// Adds the batch's bytes to `out`. `decode` reads them back as long as there are at most
    /// [`BATCH_COMMANDS_MAX`] commands of [`crate::limits::COMMAND_BYTES_MAX`] bytes in all.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        put_varint(out, self.log_time_ms);
        put_varint(out, self.commands.len() as u64);
        let mut line = Line::new();
        for command in &self.commands {
            command.encode_head(self.log_time_ms, &mut line, out);
        }
        for command in &self.commands {
            if let Some(contact) = command.kind.contact() {
                contact.encode(out);
            }
        }
    }

    /// Reads a batch. Never panics, and allocates no more than a small multiple of `bytes`.
    ///
    /// # Errors
    ///
    /// When the bytes are not exactly one batch of this version, or above a bound.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > BATCH_DECODE_BYTES_MAX {
            return Err(DecodeError::TooLarge { what: "the batch" });
        }
        let r = &mut Reader::new(bytes);
        match r.u8()? {
            VERSION => {}
            version => return Err(DecodeError::Version(version)),
        }
        let log_time_ms = r.varint()?;
        let count = r.count(BATCH_COMMANDS_MAX, 2, "commands")?;
        let mut commands = Vec::with_capacity(count);
        for _ in 0..count {
            let not_after_ms = r.delta(log_time_ms)?;
            commands.push(Command { not_after_ms, kind: CommandKind::decode(r)? });
        }
        for command in &mut commands {
            if let Some(contact) = command.kind.contact_mut() {
                *contact = Contact::decode(r)?;
            }
        }
        r.finish()?;
        Ok(Self { log_time_ms, commands })
    }
}
