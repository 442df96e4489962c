ALTER TABLE "leases" ADD COLUMN "first_block" integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "leases" ADD COLUMN "chain" "bytea";--> statement-breakpoint
ALTER TABLE "leases" ADD COLUMN "computed_blocks" integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "leases" ADD COLUMN "block_ms" double precision;