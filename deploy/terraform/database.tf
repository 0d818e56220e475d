# The worker logs in by IAM and owns nothing; the role `headcount` owns the tables and is used by migrations only.

locals {
  # Cloud SQL's name of a service account: without the end of its address.
  worker_role  = trimsuffix(google_service_account.worker.email, ".gserviceaccount.com")
  database_url = "postgresql://${urlencode(local.worker_role)}@127.0.0.1:5432/${google_sql_database.headcount.name}"
}

resource "google_sql_database_instance" "headcount" {
  project             = var.project
  name                = var.name
  region              = var.region
  database_version    = var.database_version
  deletion_protection = var.deletion_protection
  depends_on          = [google_project_service.needed]

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
    "postgresql://%s:%s@/%s?host=/cloudsql/%s",
    google_sql_user.migration.name,
    random_password.migration.result,
    google_sql_database.headcount.name,
    google_sql_database_instance.headcount.connection_name,
  )
}

# Run it before each rollout: gcloud run jobs execute headcount-migrate --region=REGION --wait
resource "google_cloud_run_v2_job" "migrate" {
  project             = var.project
  name                = "${var.name}-migrate"
  location            = var.region
  deletion_protection = false

  template {
    template {
      service_account = google_service_account.migration.email
      max_retries     = 1
      timeout         = "3600s"

      containers {
        image = var.image
        args  = ["migrate"]

        env {
          name = "HEADCOUNT_DATABASE_URL"
          value_source {
            secret_key_ref {
              secret  = google_secret_manager_secret.migration_url.secret_id
              version = "latest"
            }
          }
        }

        volume_mounts {
          name       = "cloudsql"
          mount_path = "/cloudsql"
        }
      }

      volumes {
        name = "cloudsql"
        cloud_sql_instance {
          instances = [google_sql_database_instance.headcount.connection_name]
        }
      }
    }
  }

  depends_on = [
    google_secret_manager_secret_iam_member.migration_reads_its_url,
    google_secret_manager_secret_version.migration_url,
  ]
}
