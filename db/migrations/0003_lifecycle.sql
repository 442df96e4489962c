CREATE TABLE "kv_accounts" (
	"organization_id" text PRIMARY KEY NOT NULL,
	"quota_bytes" bigint,
	"held_bytes" bigint DEFAULT 0 NOT NULL
);
--> statement-breakpoint
CREATE TABLE "kv_meter_events" (
	"id" bigserial PRIMARY KEY NOT NULL,
	"organization_id" text NOT NULL,
	"at" timestamp with time zone NOT NULL,
	"delta_bytes" bigint NOT NULL
);
--> statement-breakpoint
CREATE TABLE "kv_meter_hours" (
	"organization_id" text NOT NULL,
	"hour" timestamp with time zone NOT NULL,
	"byte_seconds" numeric NOT NULL,
	CONSTRAINT "kv_meter_hours_organization_id_hour_pk" PRIMARY KEY("organization_id","hour")
);
--> statement-breakpoint
CREATE TABLE "kv_pins" (
	"object_key" text NOT NULL,
	"holder" text NOT NULL,
	CONSTRAINT "kv_pins_object_key_holder_pk" PRIMARY KEY("object_key","holder")
);
--> statement-breakpoint
ALTER TABLE "kv_objects" ADD COLUMN "parent_hash" "bytea";--> statement-breakpoint
ALTER TABLE "organizations" ADD COLUMN "deleted_at" timestamp with time zone;--> statement-breakpoint
ALTER TABLE "kv_accounts" ADD CONSTRAINT "kv_accounts_organization_id_organizations_id_fk" FOREIGN KEY ("organization_id") REFERENCES "public"."organizations"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "kv_pins" ADD CONSTRAINT "kv_pins_object_key_kv_objects_key_fk" FOREIGN KEY ("object_key") REFERENCES "public"."kv_objects"("key") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "kv_meter_events_organization" ON "kv_meter_events" USING btree ("organization_id","at");--> statement-breakpoint
CREATE INDEX "kv_pins_holder" ON "kv_pins" USING btree ("holder");--> statement-breakpoint
CREATE INDEX "kv_objects_recency" ON "kv_objects" USING btree ("organization_id","last_used_at") WHERE state = 'ready';--> statement-breakpoint
CREATE INDEX "kv_objects_reserved_parent" ON "kv_objects" USING btree ("parent_hash") WHERE state = 'reserved';--> statement-breakpoint
CREATE INDEX "sessions_head" ON "sessions" USING btree ("head_hash");