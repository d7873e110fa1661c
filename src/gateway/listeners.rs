//! Who hears events without a socket. Each says which it wants, and nothing is built that nobody can take: what a listener
//! costs does not grow with what happens.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use uuid::Uuid;

use crate::protocol::Event;

/// Events that wait for a reader; further ones are lost to it, and it is told how many.
const EVENTS_WAITING_MAX: usize = 1_024;

/// Which events are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// How topics begin, any of them; all topics when there are none.
    pub topics: Vec<String>,
    /// Only those of this task.
    pub task: Option<Uuid>,
}

impl Interest {
    fn has(&self, topic: &str, task: Option<Uuid>) -> bool {
        let of_task = self.task.is_none_or(|wanted| task == Some(wanted));
        of_task && (self.topics.is_empty() || self.topics.iter().any(|prefix| topic.starts_with(prefix.as_str())))
    }
}

/// All of them, shared by the gateway and those who listen.
#[derive(Default)]
pub(super) struct Listeners {
    /// Of both kinds, so that nobody is looked for when there is nobody.
    count: AtomicUsize,
    mailboxes: Mutex<Vec<Arc<Mailbox>>>,
    bells: Mutex<Vec<Arc<Bell>>>,
}

/// Keeps events for a reader.
struct Mailbox {
    interest: Interest,
    events: Mutex<VecDeque<Arc<Event>>>,
    /// How many those are: a full mailbox is passed without a lock.
    waiting: AtomicUsize,
    lost: AtomicU64,
    filled: Notify,
}

/// What has come and was not taken.
#[derive(Debug, Default)]
pub struct Post {
    /// Events, oldest first.
    pub events: VecDeque<Arc<Event>>,
    /// Events for which there was no room.
    pub lost: u64,
}

/// Rings once, however much happens, until somebody comes.
struct Bell {
    interest: Interest,
    has_rung: AtomicBool,
    rings: Notify,
}

impl Mailbox {
    fn new(interest: Interest) -> Mailbox {
        Mailbox {
            interest,
            events: Mutex::default(),
            waiting: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            filled: Notify::new(),
        }
    }

    fn has_room(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) < EVENTS_WAITING_MAX
    }

    fn put(&self, event: &Arc<Event>) {
        if !self.has_room() {
            return self.lose();
        }
        let mut events = lock(&self.events);
        events.push_back(event.clone());
        self.waiting.store(events.len(), Ordering::Relaxed);
        drop(events);
        self.filled.notify_one();
    }

    fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        // Its reader may have taken everything meanwhile.
        self.filled.notify_one();
    }

    fn take(&self, most: usize) -> Post {
        let mut events = lock(&self.events);
        let taken = most.min(events.len());
        let post = Post { events: events.drain(..taken).collect(), lost: self.lost.swap(0, Ordering::Relaxed) };
        self.waiting.store(events.len(), Ordering::Relaxed);
        post
    }
}

impl Listeners {
    /// Rings the bells of those who want such an event. Whether a reader wants it and has room, so that it has to be built; when
    /// none has, it is lost to all of them.
    pub(super) fn want(&self, topic: &str, task: Option<Uuid>) -> bool {
        if self.count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        for bell in lock(&self.bells).iter() {
            if !bell.has_rung.load(Ordering::Relaxed) && bell.interest.has(topic, task) {
                bell.has_rung.store(true, Ordering::Release);
                bell.rings.notify_one();
            }
        }
        let mailboxes = lock(&self.mailboxes);
        let interested = || mailboxes.iter().filter(|mailbox| mailbox.interest.has(topic, task));
        let has_room = interested().any(|mailbox| mailbox.has_room());
        if !has_room {
            interested().for_each(|mailbox| mailbox.lose());
        }
        has_room
    }

    /// Hands out an event that is wanted.
    pub(super) fn put(&self, event: Event) {
        let event = Arc::new(event);
        for mailbox in lock(&self.mailboxes).iter() {
            if mailbox.interest.has(&event.topic, event.task_id) {
                mailbox.put(&event);
            }
        }
    }

    pub(super) fn reader(self: &Arc<Self>, interest: Interest) -> Reader {
        let mailbox = Arc::new(Mailbox::new(interest));
        lock(&self.mailboxes).push(mailbox.clone());
        self.count.fetch_add(1, Ordering::Relaxed);
        Reader { mailbox, listeners: self.clone() }
    }

    pub(super) fn news(self: &Arc<Self>, interest: Interest) -> News {
        let bell = Arc::new(Bell { interest, has_rung: AtomicBool::new(false), rings: Notify::new() });
        lock(&self.bells).push(bell.clone());
        self.count.fetch_add(1, Ordering::Relaxed);
        News { bell, listeners: self.clone() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads events, from when it was made until it is dropped.
pub struct Reader {
    mailbox: Arc<Mailbox>,
    listeners: Arc<Listeners>,
}

impl Reader {
    /// Waits until something has come, and takes at most so many events of it.
    pub async fn take(&mut self, most: usize) -> Post {
        loop {
            let post = self.mailbox.take(most);
            if !post.events.is_empty() || post.lost > 0 {
                return post;
            }
            self.mailbox.filled.notified().await;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        lock(&self.listeners.mailboxes).retain(|mailbox| !Arc::ptr_eq(mailbox, &self.mailbox));
        self.listeners.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reader").field("interest", &self.mailbox.interest).finish_non_exhaustive()
    }
}

/// Hears that there are events, but not which.
pub struct News {
    bell: Arc<Bell>,
    listeners: Arc<Listeners>,
}

impl News {
    /// Waits for an event since the last time.
    pub async fn come(&mut self) {
        while !self.bell.has_rung.swap(false, Ordering::Acquire) {
            self.bell.rings.notified().await;
        }
    }
}

impl Drop for News {
    fn drop(&mut self) {
        lock(&self.listeners.bells).retain(|bell| !Arc::ptr_eq(bell, &self.bell));
        self.listeners.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for News {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("News").field("interest", &self.bell.interest).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interest(topics: &[&str], task: Option<u128>) -> Interest {
        Interest { topics: topics.iter().map(ToString::to_string).collect(), task: task.map(Uuid::from_u128) }
    }

    fn happens(listeners: &Listeners, topic: &str, task: u128) -> bool {
        let task_id = Some(Uuid::from_u128(task));
        let is_wanted = listeners.want(topic, task_id);
        if is_wanted {
            listeners.put(Event { topic: topic.to_owned(), task_id, ..Event::default() });
        }
        is_wanted
    }

    /// What is ready now; nothing when it would have to be waited for.
    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::pin!(future).poll(&mut context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn nothing_is_built_unless_a_reader_wants_it() {
        let listeners = Arc::new(Listeners::default());
        assert!(!happens(&listeners, "event.task.started", 1));
        let _news = listeners.news(interest(&[], None));
        assert!(!happens(&listeners, "event.task.started", 1), "news need no event");
        let mut reader = listeners.reader(interest(&["event.step.", "event.task."], Some(1)));
        assert!(happens(&listeners, "event.task.started", 1));
        assert!(!happens(&listeners, "event.task.started", 2));
        assert!(!happens(&listeners, "event.batch.closed", 1));
        let post = now(reader.take(10)).expect("one is there");
        assert_eq!((post.events.len(), post.lost), (1, 0));
        assert!(now(reader.take(10)).is_none());
        drop(reader);
        assert!(!happens(&listeners, "event.task.started", 1));
    }

    #[test]
    fn a_reader_that_does_not_come_is_told_what_it_lost() {
        let listeners = Arc::new(Listeners::default());
        let mut reader = listeners.reader(interest(&[], None));
        for _ in 0..EVENTS_WAITING_MAX {
            assert!(happens(&listeners, "event.task.started", 1));
        }
        assert!(!happens(&listeners, "event.task.started", 1), "there is no room for it");
        let first = now(reader.take(1_000)).expect("they wait");
        assert_eq!((first.events.len(), first.lost), (1_000, 1));
        assert!(happens(&listeners, "event.task.started", 1));
        let rest = now(reader.take(1_000)).expect("they wait");
        assert_eq!((rest.events.len(), rest.lost), (25, 0));
    }

    #[test]
    fn news_come_once_however_much_happened() {
        let listeners = Arc::new(Listeners::default());
        let mut news = listeners.news(interest(&["event.task."], Some(1)));
        assert!(now(news.come()).is_none());
        happens(&listeners, "event.task.started", 2);
        assert!(now(news.come()).is_none(), "of another task");
        for _ in 0..3 {
            happens(&listeners, "event.task.started", 1);
        }
        assert!(now(news.come()).is_some());
        assert!(now(news.come()).is_none());
        happens(&listeners, "event.task.completed", 1);
        assert!(now(news.come()).is_some());
    }
}
