//! A broker over real sockets: with rskafka where a client would do, with raw requests where one
//! must see every byte.

mod admin;
mod crash;
mod data;
mod groups;
mod hostile;
mod operate;
mod producers;
mod retention;
mod topics;
mod transform;
mod util;
