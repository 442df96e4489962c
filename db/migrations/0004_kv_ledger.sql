-- What drizzle cannot say: the ledger of held and billed bytes, and the rule that no chain loses a parent of a living child, both kept
-- by the database itself, so that no query and no crash can go round them (docs/design/0014-kv-lifecycle.md).

CREATE FUNCTION kv_account_add(organization text, delta bigint) RETURNS void LANGUAGE sql AS $$
  INSERT INTO kv_accounts (organization_id, held_bytes) VALUES (organization, delta)
  ON CONFLICT (organization_id) DO UPDATE SET held_bytes = kv_accounts.held_bytes + excluded.held_bytes;
$$;
--> statement-breakpoint
-- One account row after the other in one order: two statements over the same organizations wait for each other, never in a circle.
CREATE FUNCTION kv_ledger_insert() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE change record;
BEGIN
  INSERT INTO kv_meter_events (organization_id, at, delta_bytes)
    SELECT organization_id, coalesce(ready_at, now()), sum(stored_bytes)::bigint
    FROM new_rows WHERE state = 'ready' GROUP BY 1, 2;
  FOR change IN
    SELECT organization_id, sum(stored_bytes)::bigint AS delta
    FROM new_rows WHERE state IN ('reserved', 'ready') GROUP BY 1 ORDER BY 1
  LOOP PERFORM kv_account_add(change.organization_id, change.delta); END LOOP;
  RETURN NULL;
END $$;
--> statement-breakpoint
CREATE FUNCTION kv_ledger_update() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE change record;
BEGIN
  IF NOT EXISTS (SELECT 1 FROM old_rows o JOIN new_rows n USING (key) WHERE o.state <> n.state) THEN RETURN NULL; END IF;
  INSERT INTO kv_meter_events (organization_id, at, delta_bytes)
    SELECT n.organization_id,
      CASE WHEN n.state = 'ready' THEN coalesce(n.ready_at, now()) ELSE coalesce(n.retired_at, now()) END,
      sum(CASE WHEN n.state = 'ready' THEN n.stored_bytes ELSE -n.stored_bytes END)::bigint
    FROM old_rows o JOIN new_rows n USING (key)
    WHERE o.state <> n.state AND 'ready' IN (o.state, n.state) GROUP BY 1, 2;
  FOR change IN
    SELECT n.organization_id,
      sum(n.stored_bytes * ((n.state IN ('reserved', 'ready'))::int - (o.state IN ('reserved', 'ready'))::int))::bigint AS delta
    FROM old_rows o JOIN new_rows n USING (key) WHERE o.state <> n.state GROUP BY 1 ORDER BY 1
  LOOP
    IF change.delta <> 0 THEN PERFORM kv_account_add(change.organization_id, change.delta); END IF;
  END LOOP;
  RETURN NULL;
END $$;
--> statement-breakpoint
CREATE FUNCTION kv_ledger_delete() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE change record;
BEGIN
  INSERT INTO kv_meter_events (organization_id, at, delta_bytes)
    SELECT organization_id, now(), -sum(stored_bytes)::bigint FROM old_rows WHERE state = 'ready' GROUP BY 1;
  FOR change IN
    SELECT organization_id, -sum(stored_bytes)::bigint AS delta
    FROM old_rows WHERE state IN ('reserved', 'ready') GROUP BY 1 ORDER BY 1
  LOOP PERFORM kv_account_add(change.organization_id, change.delta); END LOOP;
  RETURN NULL;
END $$;
--> statement-breakpoint
CREATE TRIGGER kv_objects_ledger_insert AFTER INSERT ON kv_objects
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION kv_ledger_insert();
--> statement-breakpoint
CREATE TRIGGER kv_objects_ledger_update AFTER UPDATE ON kv_objects
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION kv_ledger_update();
--> statement-breakpoint
CREATE TRIGGER kv_objects_ledger_delete AFTER DELETE ON kv_objects
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION kv_ledger_delete();
--> statement-breakpoint
-- What was stored before there was a ledger.
INSERT INTO kv_accounts (organization_id, held_bytes)
  SELECT organization_id, sum(stored_bytes) FROM kv_objects WHERE state IN ('reserved', 'ready') GROUP BY 1;
--> statement-breakpoint
INSERT INTO kv_meter_events (organization_id, at, delta_bytes)
  SELECT organization_id, now(), sum(stored_bytes) FROM kv_objects WHERE state = 'ready' GROUP BY 1;
--> statement-breakpoint
-- Checked at commit, when all of a transaction's retirements are done. A quarantined parent is no loss yet: the next publish takes its
-- place, and the sweeper retires the children when none comes.
CREATE FUNCTION kv_keep_parents() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.state <> 'tombstone' OR OLD.state <> 'ready' THEN RETURN NULL; END IF;
  IF EXISTS (
    SELECT 1 FROM kv_blocks p JOIN kv_blocks c ON c.parent_hash = p.hash JOIN kv_objects o ON o.key = c.object_key
    WHERE p.object_key = NEW.key AND o.state = 'ready'
  ) THEN
    RAISE EXCEPTION 'object % holds the parent of a living block: retire its children first', NEW.key
      USING ERRCODE = 'check_violation', CONSTRAINT = 'kv_keep_parents';
  END IF;
  RETURN NULL;
END $$;
--> statement-breakpoint
CREATE CONSTRAINT TRIGGER kv_objects_keep_parents AFTER UPDATE ON kv_objects DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW WHEN (OLD.state = 'ready' AND NEW.state = 'tombstone') EXECUTE FUNCTION kv_keep_parents();
--> statement-breakpoint
-- A block that joins a chain finds its parent alive, and holds it until it has joined.
CREATE FUNCTION kv_need_parent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.block_index = 0 OR NOT EXISTS (SELECT 1 FROM kv_objects WHERE key = NEW.object_key AND state = 'ready') THEN RETURN NULL; END IF;
  PERFORM 1 FROM kv_blocks p JOIN kv_objects o ON o.key = p.object_key
    WHERE p.hash = NEW.parent_hash AND o.state = 'ready' FOR SHARE OF o;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'block % of object % has no living parent', NEW.block_index, NEW.object_key
      USING ERRCODE = 'check_violation', CONSTRAINT = 'kv_need_parent';
  END IF;
  RETURN NULL;
END $$;
--> statement-breakpoint
CREATE CONSTRAINT TRIGGER kv_blocks_need_parent AFTER INSERT OR UPDATE OF object_key ON kv_blocks DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION kv_need_parent();
--> statement-breakpoint
CREATE FUNCTION kv_no_orphans() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT 1 FROM kv_blocks c JOIN kv_objects o ON o.key = c.object_key
      WHERE c.parent_hash = OLD.hash AND o.state = 'ready')
    AND NOT EXISTS (SELECT 1 FROM kv_blocks WHERE hash = OLD.hash)
  THEN
    RAISE EXCEPTION 'block % of object % is the parent of a living block', OLD.block_index, OLD.object_key
      USING ERRCODE = 'check_violation', CONSTRAINT = 'kv_no_orphans';
  END IF;
  RETURN NULL;
END $$;
--> statement-breakpoint
CREATE CONSTRAINT TRIGGER kv_blocks_no_orphans AFTER DELETE ON kv_blocks DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION kv_no_orphans();
