//! A Conclave node: the HTTP edge in front of the replicated state, the actors between the two, and the command line
//! that starts them.
//!
//! Read in this order: [`cli`] says what was asked for, [`config`] with what values, [`serve`] runs one node and
//! [`dev`] several; [`listener`] takes its connections, [`transport`] meets the public, [`service`] does what it asks,
//! [`actors`] wait for it, [`access`] and [`edition`] say who may what, [`admission`] how much of it; [`admin`],
//! [`telemetry`] and [`otlp`] are for operators, and so are the certificates that [`certs`] makes.

pub mod config;
pub mod exit;

pub mod dev;
pub mod serve;

pub mod access;
pub mod actors;
pub mod admission;
mod description;
pub mod edition;
mod json_field;
pub mod listener;
pub mod service;
pub mod transport;

pub mod admin;
pub mod otlp;
pub mod telemetry;

pub mod certs;

pub mod cli;
mod terminal;
