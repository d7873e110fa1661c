//! The pure decision core of Tasker Core: what happened comes in as events, what must be saved and sent goes out.
