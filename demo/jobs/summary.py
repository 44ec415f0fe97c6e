import matplotlib.pyplot as plt
import pandas as pd

birds = pd.read_csv("penguins.csv").dropna(subset=["body_mass_g", "flipper_length_mm"])
groups = birds.groupby("species")

summary = groups.agg(
    birds=("species", "size"),
    mass_g=("body_mass_g", "mean"),
    mass_sd=("body_mass_g", "std"),
    flipper_mm=("flipper_length_mm", "mean"),
    bill_mm=("bill_length_mm", "mean"),
).round(1)
print(summary.to_string())
print()
print("flipper length and body mass: r = %.3f" % birds["flipper_length_mm"].corr(birds["body_mass_g"]))
summary.to_csv("summary.csv")

plt.figure(figsize=(8, 5), layout="constrained")
for (species, group), color in zip(groups, ["#e07a2f", "#7b4ba0", "#1b7f79"]):
    plt.scatter(group["flipper_length_mm"], group["body_mass_g"], s=22, alpha=0.75, color=color, label=species)
plt.title("Palmer penguins: the longer the flipper, the heavier the bird")
plt.xlabel("flipper length (mm)")
plt.ylabel("body mass (g)")
plt.grid(alpha=0.25)
plt.legend(title="species", frameon=False)
plt.show()
