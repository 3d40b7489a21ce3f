//! A connection that is subscribed to the channels of changes (`news.rs`), in RESP2.
//!
//! Its task reads what is published and puts it where those wait that were told by other ways; it is
//! asked for a sign of life between the messages, and answers in their order.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use redis::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{
        mpsc::{self, UnboundedReceiver, UnboundedSender},
        oneshot,
    },
    task::AbortHandle,
};

use super::{
    connect::{self, as_error},
    counters::count,
    link::Common,
    news::{self, News},
    options::Address,
    refusal::{self, error},
    reply::{self, ReplyReader},
    stream::Stream,
    subscription::{EndReport, Event, Queue, Told},
    wire::Trouble,
};
use crate::error::{ErrorKind, Result};

/// A subscribed connection; ends when it is dropped.
pub(super) struct Channel {
    questions: UnboundedSender<oneshot::Sender<()>>,
    driver: AbortHandle,
    /// What is dropped with it is reported to nobody.
    _lives: Arc<()>,
}

impl Channel {
    /// Connects to this server and subscribes to the channels of these stripes: what is published from
    /// now on is told as events of number `serial`.
    pub(super) async fn subscribe(
        common: &Arc<Common>,
        address: &Address,
        stripes: &[usize],
        events: &UnboundedSender<Event>,
        serial: u64,
        queue: &Arc<Queue>,
    ) -> Result<Self> {
        let settings = &common.settings;
        let mut stream =
            Stream::connect(address, common.connector.as_ref(), Arc::clone(&common.counters))
                .await
                .map_err(|cause| refusal::from_connect(cause, address))?;
        let limits = connect::limits(settings);
        let mut opening = Vec::new();
        let commands = connect::opening(settings);
        commands.iter().for_each(|command| command.write_packed_command(&mut opening));
        for reply in stream.ask(&opening, commands.len(), limits).await.map_err(as_error)? {
            if let Value::ServerError(_) = reply {
                // The server's own words may name the user.
                return Err(error(ErrorKind::Auth, "server refused our credentials"));
            }
        }
        let (command, unanswered) = news::subscribe(&settings.prefix, stripes);
        let mut unsent = Vec::new();
        command.write_packed_command(&mut unsent);
        let (questions, asked) = mpsc::unbounded_channel();
        let (begun, is_begun) = oneshot::channel();
        let lives = Arc::new(());
        let mut driver = Driver {
            common: Arc::clone(common),
            stream,
            reader: ReplyReader::new(limits),
            unsent,
            unanswered,
            begun: Some(begun),
            asked,
            waiting: VecDeque::new(),
            queue: Arc::clone(queue),
            report: EndReport { events: events.clone(), serial, lives: Arc::downgrade(&lives) },
        };
        let driver = tokio::spawn(async move {
            std::future::poll_fn(|context| driver.poll(context)).await;
        })
        .abort_handle();
        let channel = Self { questions, driver, _lives: lives };
        is_begun.await.map_err(|_| as_error(Trouble::Closed))??;
        Ok(channel)
    }

    /// Returns when all that was published before has been told.
    pub(super) async fn settle(&self) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        // A task that has ended drops who asks.
        _ = self.questions.send(answer);
        answered.await.map_err(|_| as_error(Trouble::Closed))
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What reads the connection.
struct Driver {
    common: Arc<Common>,
    stream: Stream,
    reader: ReplyReader,
    /// What is to be sent.
    unsent: Vec<u8>,
    /// Channels that the server has not confirmed yet.
    unanswered: usize,
    /// Who waits for that.
    begun: Option<oneshot::Sender<Result<()>>>,
    asked: UnboundedReceiver<oneshot::Sender<()>>,
    /// Who asked for a sign of life, in their order.
    waiting: VecDeque<oneshot::Sender<()>>,
    queue: Arc<Queue>,
    /// Tells that the connection ended.
    report: EndReport,
}

impl Driver {
    /// Goes on until the connection ends.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(asked) = self.asked.poll_recv(context) {
            let Some(asked) = asked else { return Poll::Ready(()) };
            self.waiting.push_back(asked);
            redis::cmd("PING").write_packed_command(&mut self.unsent);
        }
        while !self.unsent.is_empty() {
            match Pin::new(&mut self.stream).poll_write(context, &self.unsent) {
                Poll::Ready(Ok(written @ 1..)) => drop(self.unsent.drain(..written)),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        if let Poll::Ready(Err(_)) = Pin::new(&mut self.stream).poll_flush(context) {
            return Poll::Ready(());
        }
        loop {
            let mut room = ReadBuf::new(self.reader.room());
            match Pin::new(&mut self.stream).poll_read(context, &mut room) {
                Poll::Ready(Ok(())) if !room.filled().is_empty() => {
                    let read = room.filled().len();
                    self.reader.filled(read);
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
            loop {
                match self.reader.next().and_then(|it| it.map(|it| reply::value(&it)).transpose()) {
                    Ok(Some(said)) => {
                        if !self.hear(said) {
                            return Poll::Ready(());
                        }
                    }
                    Ok(None) => break,
                    // It is no reply.
                    Err(_) => return Poll::Ready(()),
                }
            }
        }
    }

    /// Deals with what the server said; false if that is the end.
    fn hear(&mut self, said: Value) -> bool {
        let parts = match said {
            Value::Array(parts) => parts,
            Value::ServerError(reply) => {
                if let Some(begun) = self.begun.take() {
                    _ = begun.send(Err(refusal::from_reply(&reply)));
                }
                return false;
            }
            // A sign of life as some servers give it.
            _ => return self.answer(),
        };
        match &parts[..] {
            [Value::BulkString(kind), ..] if kind == b"pong" => self.answer(),
            [Value::BulkString(kind), ..] if kind == b"subscribe" => {
                self.unanswered = self.unanswered.saturating_sub(1);
                if self.unanswered == 0
                    && let Some(begun) = self.begun.take()
                {
                    _ = begun.send(Ok(()));
                }
                true
            }
            [Value::BulkString(kind), Value::BulkString(channel), Value::BulkString(message)]
                if kind == b"message" =>
            {
                match News::of(&self.common.settings.prefix, channel, message) {
                    Some(news) => {
                        let EndReport { events, serial, .. } = &self.report;
                        self.queue.put(events, *serial, Told::News(news)).is_ok()
                    }
                    None => {
                        count(&self.common.counters.news_ignored);
                        true
                    }
                }
            }
            // Of a kind that there was not when this was written.
            _ => true,
        }
    }

    /// Answers who asked first; false where nobody did.
    fn answer(&mut self) -> bool {
        let Some(first) = self.waiting.pop_front() else { return false };
        _ = first.send(());
        true
    }
}
