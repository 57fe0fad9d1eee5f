//! The life of the agent.
