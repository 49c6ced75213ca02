from keystead.db.engine import Database
async def test_now(db: Database) -> None:
    print(await db.now()); await db.ping()
async def test_now2(db: Database) -> None:
    print(await db.now()); await db.ping()
