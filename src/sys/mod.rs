//! The kernel's own interfaces: ioctls on the bindings' structs, and safe types above them.
