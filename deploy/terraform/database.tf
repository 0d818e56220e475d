# The worker logs in by IAM and owns nothing; the role `headcount` owns the tables and is used by migrations only.

locals {
  # Cloud SQL's name of a service account: without the end of its address.
  worker_role      = trimsuffix(google_service_account.worker.email, ".gserviceaccount.com")
  database_url     = "postgresql://${urlencode(local.worker_role)}@127.0.0.1:5432/${google_sql_database.headcount.name}"
  makes_connection = var.private_network != null && var.private_services_connection == "make"

  # A job's container has no proxy beside it. It reaches a public database by Cloud Run's socket, a private one directly.
  socket         = google_sql_database_instance.headcount.connection_name
  migration_host = var.private_network == null ? "" : google_sql_database_instance.headcount.private_ip_address
  migration_tail = var.private_network == null ? "host=/cloudsql/${local.socket}" : "sslmode=require"
}

# The addresses in the network that Google's services, the database among them, get theirs from.
resource "google_compute_global_address" "services" {
  count = local.makes_connection ? 1 : 0

  project       = var.project
  name          = "${var.name}-services"
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = 16
  network       = var.private_network
  depends_on    = [google_project_service.needed]
}

resource "google_service_networking_connection" "database" {
  count = local.makes_connection ? 1 : 0

  network                 = var.private_network
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = google_compute_global_address.services[*].name
}

resource "google_sql_database_instance" "headcount" {
  project             = var.project
  name                = var.name
  region              = var.region
  database_version    = var.database_version
  deletion_protection = var.deletion_protection
  depends_on          = [google_project_service.needed, google_service_networking_connection.database]

  lifecycle {
    precondition {
      condition     = var.private_network == null || (var.subnetwork != null && var.private_services_connection != null)
      error_message = "private_network needs subnetwork, to reach it, and private_services_connection (make or exists)."
    }
  }

  settings {
    tier              = var.database_tier
    edition           = "ENTERPRISE"
    availability_type = "REGIONAL"
    disk_autoresize   = true

    backup_configuration {
      enabled                        = true
      point_in_time_recovery_enabled = true
    }

    ip_configuration {
      ipv4_enabled    = var.private_network == null
      private_network = var.private_network
      ssl_mode        = "ENCRYPTED_ONLY"
    }

    database_flags {
      name  = "cloudsql.iam_authentication"
      value = "on"
    }

    database_flags {
      name  = "max_connections"
      value = tostring(var.database_max_connections)
    }
  }
}

resource "google_sql_database" "headcount" {
  project  = var.project
  instance = google_sql_database_instance.headcount.name
  name     = "headcount"
}

resource "google_sql_user" "worker" {
  project  = var.project
  instance = google_sql_database_instance.headcount.name
  name     = local.worker_role
  type     = "CLOUD_IAM_SERVICE_ACCOUNT"
}

resource "random_password" "migration" {
  length  = 40
  special = false
}

resource "google_sql_user" "migration" {
  project  = var.project
  instance = google_sql_database_instance.headcount.name
  name     = "headcount"
  password = random_password.migration.result
}

resource "google_secret_manager_secret" "migration_url" {
  project    = var.project
  secret_id  = "${var.name}-migration-url"
  depends_on = [google_project_service.needed]

  replication {
    auto {}
  }
}

resource "google_secret_manager_secret_version" "migration_url" {
  secret = google_secret_manager_secret.migration_url.id
  secret_data = format(
    "postgresql://%s:%s@%s/%s?%s",
    google_sql_user.migration.name,
    random_password.migration.result,
    local.migration_host,
    google_sql_database.headcount.name,
    local.migration_tail,
  )
}
