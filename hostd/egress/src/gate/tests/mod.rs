mod decisions;
mod flows;
mod limits;
mod stage;
