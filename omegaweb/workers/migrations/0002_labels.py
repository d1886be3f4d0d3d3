from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("workers", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="worker",
            name="labels",
            field=models.JSONField(default=list, help_text="Of the tasks that it takes."),
        ),
    ]
