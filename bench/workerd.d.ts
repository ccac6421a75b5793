// What the package `workerd` exports: the path of its program.

declare module "workerd" {
  const path: string;
  export default path;
}
