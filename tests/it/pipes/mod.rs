//! The program between other programs: what it prints, and what it reads.

mod clients;
mod formats;
mod stdin;
