mod cancels;
mod deadlines;
mod reinstalls;
mod requests;
mod restarts;
mod rig;
mod security;
mod whole_way;
