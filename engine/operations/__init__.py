"""Operations: changes to the world, with steps, a journal and an outcome."""
