CREATE TABLE "kv_departures" (
	"hash" "bytea" PRIMARY KEY NOT NULL,
	"organization_id" text NOT NULL,
	"reason" text NOT NULL,
	"departed_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "kv_namespaces" (
	"namespace" "bytea" PRIMARY KEY NOT NULL,
	"identity" jsonb NOT NULL,
	"first_seen_at" timestamp with time zone DEFAULT now() NOT NULL,
	"last_seen_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
ALTER TABLE "kv_blocks" ADD COLUMN "sealed_tokens" "bytea";--> statement-breakpoint
ALTER TABLE "sessions" ADD COLUMN "sealed_for" text;--> statement-breakpoint
ALTER TABLE "sessions" ADD COLUMN "forked_from" text;--> statement-breakpoint
ALTER TABLE "sessions" ADD COLUMN "head_hash" "bytea";--> statement-breakpoint
ALTER TABLE "turns" ADD COLUMN "token_count" integer;--> statement-breakpoint
ALTER TABLE "usage" ADD COLUMN "decision" text;--> statement-breakpoint
ALTER TABLE "usage" ADD COLUMN "miss_reason" text;--> statement-breakpoint
ALTER TABLE "usage" ADD COLUMN "first_divergent_token" integer;--> statement-breakpoint
ALTER TABLE "usage" ADD COLUMN "loaded_bytes" bigint;--> statement-breakpoint
ALTER TABLE "usage" ADD COLUMN "saved_ms" double precision;--> statement-breakpoint
ALTER TABLE "kv_departures" ADD CONSTRAINT "kv_departures_organization_id_organizations_id_fk" FOREIGN KEY ("organization_id") REFERENCES "public"."organizations"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "kv_departures_age" ON "kv_departures" USING btree ("departed_at");--> statement-breakpoint
CREATE INDEX "kv_namespaces_seen" ON "kv_namespaces" USING btree ("last_seen_at");--> statement-breakpoint
CREATE INDEX "kv_blocks_parent" ON "kv_blocks" USING btree ("parent_hash");--> statement-breakpoint
CREATE INDEX "sessions_tail" ON "sessions" USING btree ("tail_object_key");