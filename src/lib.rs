//! wsmesh
